"""The machine room: contracts, hooks, configuration, model, loop, files and command line."""
