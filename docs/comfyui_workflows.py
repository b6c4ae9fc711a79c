"""Write the example workflows for ComfyUI, in its editor's own format: ``make docs``.

Sockets and widgets of longtake's nodes are taken from their classes, those of ComfyUI's from a table. Each workflow is
the same generation of 56 frames with SVD-XT, with one thing added.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import longtake
from longtake.plugins.comfy.nodes import mappings

FOLDER = Path(__file__).parents[1] / "example_workflows"  # where ComfyUI looks for a pack's templates
FRAMES = 56
# Where nodes lie, so that no wire passes below one: models along the top, conditioning and latents along the middle.
LOADER, IMAGE, CONDITIONING = (0, 0), (0, 480), (490, 600)
FIRST, SECOND, THIRD = (490, 110), (930, 110), (1370, 110)  # nodes that a model goes through
OPTIONS_OF_SECOND, OPTIONS_OF_THIRD = (490, 200), (930, 220)
SIGMAS, GUIDER, SAMPLER, NOISE = (1810, 380), (1810, 600), (1810, 930), (1810, 1100)
SAMPLING, PLAN, DECODER, PICTURE, VIDEO = (2250, 760), (2250, 110), (2690, 20), (2690, 220), (3130, 20)
SAMPLER_BEFORE = (1370, 930)
WIDTH = 330
SIZES = {
    "ImageOnlyCheckpointLoader": (380, 100),
    **{"LoadImage": (WIDTH, 330), "SaveAnimatedWEBP": (WIDTH, 440), "PreviewImage": (WIDTH, 300)},
}
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
# ComfyUI's own nodes: sockets, what their widgets say, types and names of their outputs.
STOCK: dict[str, tuple[dict[str, str], list[Any], list[tuple[str, str]]]] = {
    "ImageOnlyCheckpointLoader": (
        {},
        ["svd_xt.safetensors"],
        [("MODEL", "MODEL"), ("CLIP_VISION", "CLIP_VISION"), ("VAE", "VAE")],
    ),
    "LoadImage": ({}, ["example.png", "image"], [("IMAGE", "IMAGE"), ("MASK", "MASK")]),
    "SVD_img2vid_Conditioning": (
        {"clip_vision": "CLIP_VISION", "init_image": "IMAGE", "vae": "VAE"},
        [
            1024,
            576,
            FRAMES,
            100,
            7,
            0.02,
        ],  # a motion bucket that may be multiplied by 56/25 and is still one that SVD knows
        [("CONDITIONING", "positive"), ("CONDITIONING", "negative"), ("LATENT", "latent")],
    ),
    "VideoLinearCFGGuidance": ({"model": "MODEL"}, [1.0], [("MODEL", "MODEL")]),
    "CFGGuider": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING"},
        [3.0],
        [("GUIDER", "GUIDER")],
    ),
    "KSamplerSelect": ({}, ["euler"], [("SAMPLER", "SAMPLER")]),
    "BasicScheduler": ({"model": "MODEL"}, ["karras", 25, 1.0], [("SIGMAS", "SIGMAS")]),
    "RandomNoise": ({}, [1, "fixed"], [("NOISE", "NOISE")]),
    "SamplerCustomAdvanced": (
        {"noise": "NOISE", "guider": "GUIDER", "sampler": "SAMPLER", "sigmas": "SIGMAS", "latent_image": "LATENT"},
        [],
        [("LATENT", "output"), ("LATENT", "denoised_output")],
    ),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, [], [("IMAGE", "IMAGE")]),
    "SaveAnimatedWEBP": ({"images": "IMAGE"}, ["longtake", 7.0, True, 80, "default"], []),
    "PreviewImage": ({"images": "IMAGE"}, [], []),
}
Output = tuple[dict[str, Any], int]


class Workflow:
    """A graph in the making."""

    def __init__(self, classes: dict[str, type], titles: dict[str, str]) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []
        self._classes = classes
        self._titles = titles

    def add(self, kind: str, place: tuple[int, int], /, *, widgets: dict[str, Any] | None = None, **inputs: Output):
        """Add a node: its type, place, what its widgets say, and what its sockets are connected to."""
        sockets, values, outputs = self._shape(kind, widgets or {}) if kind in self._classes else STOCK[kind]
        node: dict[str, Any] = {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": list(place),
            "size": list(SIZES.get(kind, (WIDTH, 60 + 24 * (len(sockets) + len(values))))),
            "flags": {},
            "order": len(self.nodes),
            "mode": 0,
            "inputs": [{"name": name, "type": type_, "link": None} for name, type_ in sockets.items()],
            "outputs": [{"name": name, "type": type_, "links": [], "slot_index": number}
                        for number, (type_, name) in enumerate(outputs)],
            "properties": {"Node name for S&R": kind},
            "widgets_values": values,
        }  # fmt: skip
        for socket in node["inputs"]:
            if socket["name"] in inputs:
                self._connect(inputs.pop(socket["name"]), node, socket)
        assert not inputs, f"{kind} has no socket {', '.join(inputs)}"
        if kind in self._titles:
            node["title"] = self._titles[kind]
        self.nodes.append(node)
        return [(node, number) for number in range(len(outputs))] or [(node, 0)]

    def _connect(self, output: Output, node: dict[str, Any], socket: dict[str, Any]) -> None:
        source, slot = output
        link = len(self.links) + 1
        source["outputs"][slot]["links"].append(link)
        socket["link"] = link
        number = node["inputs"].index(socket)
        self.links.append([link, source["id"], slot, node["id"], number, socket["type"]])

    def _shape(self, kind: str, widgets: dict[str, Any]) -> tuple[dict[str, str], list[Any], list[tuple[str, str]]]:
        cls, sockets, values = self._classes[kind], {}, []
        declared = cls.INPUT_TYPES()
        for name, (type_, settings) in (declared["required"] | declared.get("optional", {})).items():
            if isinstance(type_, list) or type_ in WIDGETS:
                values.append(widgets.pop(name, settings["default"]))
                values += ["fixed"] if settings.get("control_after_generate") else []
            else:
                sockets[name] = type_
        assert not widgets, f"{kind} has no widget {', '.join(widgets)}"
        names = getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)
        return sockets, values, list(zip(cls.RETURN_TYPES, names, strict=True))

    def data(self) -> dict[str, Any]:
        """Return what the editor loads."""
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }


class Start:
    """What every workflow begins with: the checkpoint, the image, and what the model is told of it."""

    def __init__(self, workflow: Workflow) -> None:
        self.add = workflow.add
        self.model, clip_vision, self.vae = self.add("ImageOnlyCheckpointLoader", LOADER)
        image, _ = self.add("LoadImage", IMAGE)
        self.positive, self.negative, self.latent = self.add(
            "SVD_img2vid_Conditioning", CONDITIONING, clip_vision=clip_vision, init_image=image, vae=self.vae
        )

    def usual_guidance(self, model: Output) -> Output:
        """Return the model with ComfyUI's own guidance over the frames."""
        return self.add("VideoLinearCFGGuidance", THIRD, model=model)[0]

    def finish(self, model: Output, *, noise: Output | None = None, again: bool = False) -> Output:
        """Sample, decode, save; return the sigmas."""
        (sigmas,) = self.add("BasicScheduler", SIGMAS, model=model)
        (sampler,) = self.add("KSamplerSelect", SAMPLER_BEFORE if again else SAMPLER)
        if again:
            (sampler,) = self.add("LongtakeSampling", SAMPLER, sampler=sampler)
        (guider,) = self.add("CFGGuider", GUIDER, model=model, positive=self.positive, negative=self.negative)
        (noise,) = [noise] if noise else self.add("RandomNoise", NOISE)
        made, _ = self.add(
            *("SamplerCustomAdvanced", SAMPLING),
            noise=noise,
            guider=guider,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=self.latent,
        )
        (frames,) = self.add("VAEDecode", DECODER, samples=made, vae=self.vae)
        self.add("SaveAnimatedWEBP", VIDEO, images=frames)
        return sigmas


def make_it_long(start: Start) -> None:
    model, start.positive, start.negative = start.add(
        "LongtakeMakeItLong",
        SECOND,
        model=start.model,
        positive=start.positive,
        negative=start.negative,
        latent=start.latent,
    )
    start.finish(model)


def position_scaling(start: Start) -> None:
    (ends,) = start.add("Longtake_positional_linear", OPTIONS_OF_SECOND, widgets={"align": "ends"})
    (model,) = start.add("LongtakePositional", SECOND, model=start.model, options=ends)
    start.finish(start.usual_guidance(model))


def attention(start: Start, **widgets: Any) -> None:
    (positions,) = start.add("LongtakePositional", FIRST, model=start.model)
    (model,) = start.add("LongtakeAttention", SECOND, model=positions, widgets=widgets)
    start.finish(start.usual_guidance(model))


def key_scale(start: Start) -> None:
    attention(start, key_scale=0.9)


def attention_scale(start: Start) -> None:
    attention(start, temperature=1.2)


def attention_windows(start: Start) -> None:
    (windows,) = start.add("Longtake_attention_freenoise", OPTIONS_OF_SECOND, widgets={"window": "25", "stride": "6"})
    (model,) = start.add("LongtakeAttention", SECOND, model=start.model, options=windows)
    start.finish(start.usual_guidance(model))


def noise_shuffling(start: Start) -> None:
    (model,) = start.add("LongtakeAttention", SECOND, model=start.model, widgets={"attention": "freenoise"})
    (noise,) = start.add("LongtakeNoise", NOISE, widgets={"noise_seed": 1})
    start.finish(start.usual_guidance(model), noise=noise)


def loop(start: Start) -> None:
    (model,) = start.add("LongtakeLoop", SECOND, model=start.model, latent=start.latent)
    start.finish(model)


def freeinit(start: Start) -> None:
    (model,) = start.add("LongtakePositional", SECOND, model=start.model)
    start.finish(start.usual_guidance(model), again=True)


def guidance_and_plan(start: Start) -> None:
    (trapezoid,) = start.add("Longtake_guidance_trapezoid", OPTIONS_OF_THIRD, widgets={"max": 2.5})
    (positions,) = start.add("LongtakePositional", FIRST, model=start.model, widgets={"positional": "yarn"})
    (model,) = start.add("LongtakeGuidance", THIRD, model=positions, options=trapezoid)
    (noise,) = start.add("LongtakeNoise", NOISE, widgets={"noise_seed": 1})
    sigmas = start.finish(model, noise=noise)
    (plan,) = start.add(
        *("LongtakePlan", PLAN),
        model=model,
        latent=start.latent,
        noise=noise,
        sigmas=sigmas,
        positive=start.positive,
    )
    start.add("PreviewImage", PICTURE, images=plan)


WORKFLOWS: dict[str, Callable[[Start], None]] = {
    "make-it-long": make_it_long,
    "position-scaling": position_scaling,
    "key-scale": key_scale,
    "attention-scale": attention_scale,
    "attention-windows": attention_windows,
    "noise-shuffling": noise_shuffling,
    "loop": loop,
    "freeinit": freeinit,
    "guidance-and-plan": guidance_and_plan,
}


def workflow(name: str) -> str:
    """Return a workflow as it is written."""
    made = Workflow(*mappings(longtake.load_plugins(third_party=False).registry))
    WORKFLOWS[name](Start(made))
    return json.dumps(made.data(), indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in WORKFLOWS:
        (FOLDER / f"{name}.json").write_text(workflow(name), encoding="utf-8")
