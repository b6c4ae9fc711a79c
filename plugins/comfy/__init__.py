"""Nodes for ComfyUI: the folder of the project, cloned into ``custom_nodes/``, is a node pack.

Nothing of ComfyUI is imported. A node is given ComfyUI's objects and uses them by the methods that ComfyUI documents;
docs/comfyui.md says which, and how to check them on a real installation.
"""
