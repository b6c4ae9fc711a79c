"""Schedules: numbers over frames and steps. One family per file: noise, guidance, sigmas, motion."""
