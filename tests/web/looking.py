"""How a page looks to somebody who cannot see well, has no mouse, or holds a telephone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.web.conftest import Chromium

_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}

_FAINT = """(() => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    const papers = [];
    for (let at = element; at; at = at.parentElement) papers.unshift(rgba(getComputedStyle(at).backgroundColor));
    return papers.reduce((below, above) => below.map((each, place) => each + (above[place] - each) * above[3] / 255),
      [255, 255, 255]);
  };
  const light = (color) => [0.2126, 0.7152, 0.0722].reduce((sum, part, place) => {
    const share = color[place] / 255;
    return sum + part * (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
  }, 0);
  const found = [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility({ opacityProperty: true }) && !element.closest(".unseen, .skip, option")
    && [...element.childNodes].some((each) => each.nodeType === 3 && each.data.trim()));
  const weak = found.map((element) => {
    const style = getComputedStyle(element);
    const ink = rgba(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [bright, dim] = [light(ink), light(behind(element))].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    return [element.textContent.trim().slice(0, 40), (bright + 0.05) / (dim + 0.05), large ? 3 : 4.5];
  }).filter(([, ratio, least]) => ratio < least);
  return { seen: found.length, weak };
})()"""


def faint(chromium: Chromium) -> list[object]:
    """Words whose contrast is below WCAG's 4.5, or 3 for large ones."""
    found = chromium.evaluate(_FAINT)
    assert found["seen"] > 10
    weak: list[object] = found["weak"]
    return weak


def resize(chromium: Chromium, width: int, height: int = 900) -> None:
    chromium.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)


def press(chromium: Chromium, key: str) -> None:
    text = {"Enter": "\r", " ": " "}.get(key, "")
    for kind, typed in (("keyDown", text), ("keyUp", "")):
        chromium.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES[key], text=typed
        )
