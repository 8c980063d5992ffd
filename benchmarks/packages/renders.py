"""Renders of three-dimensional models, by VTK without a screen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

try:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy
except ImportError as error:
    raise SystemExit("expected vtk, which renders models; install it with: pip install vtk") from error

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 512

vtk.vtkObject.GlobalWarningDisplayOff()  # it reports each missing texture, and that there is no screen


class Scene:
    """A window without a screen, with one model in it."""

    def __init__(self) -> None:
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(SIDE, SIDE)

    def read_obj(self, path: Path) -> None:
        """Puts a Wavefront model into the window, with its materials and textures."""
        importer = vtk.vtkOBJImporter()
        importer.SetFileName(str(path))
        if path.with_suffix(".mtl").exists():
            importer.SetFileNameMTL(str(path.with_suffix(".mtl")))
        importer.SetTexturePath(str(path.parent))
        importer.SetRenderWindow(self.window)
        importer.Update()
        self.renderer = importer.GetRenderer()

    def show(self, mesh: Any, texture: Path) -> None:
        """Puts a mesh with texture coordinates into the window."""
        reader = vtk.vtkPNGReader()
        reader.SetFileName(str(texture))
        surface = vtk.vtkTexture()
        surface.SetInputConnection(reader.GetOutputPort())
        surface.InterpolateOn()
        mapper = vtk.vtkPolyDataMapper()
        mapper.SetInputData(mesh)
        mapper.ScalarVisibilityOff()
        actor = vtk.vtkActor()
        actor.SetMapper(mapper)
        actor.SetTexture(surface)
        actor.GetProperty().SetSpecular(0.3)  # else a black model is a silhouette
        actor.GetProperty().SetSpecularPower(15)
        self.renderer = vtk.vtkRenderer()
        self.renderer.AddActor(actor)
        self.window.AddRenderer(self.renderer)

    def look(self, azimuth: float, elevation: float, up: tuple[float, float, float] = (0, 1, 0)) -> None:
        """Points the camera at the model, from angles in degrees."""
        self.renderer.SetBackground(1, 1, 1)
        camera = self.renderer.GetActiveCamera()
        camera.ParallelProjectionOn()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetViewUp(*up)
        around, above = math.radians(azimuth), math.radians(elevation)
        flat = math.cos(above)
        side, height, depth = math.sin(around) * flat, math.sin(above), math.cos(around) * flat
        camera.SetPosition(*((side, height, depth) if up[1] else (side, -depth, height)))
        self.renderer.ResetCamera()
        self.window.Render()

    def colours(self) -> Image.Image:
        """Returns the shaded model; its background is transparent."""
        shades = self._pixels(depth=False)[..., :3].copy()
        visible = np.where((shades > 252).all(2), 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([shades, visible]))

    def outlines(self) -> Image.Image | None:
        """Returns a line drawing: black where the depth bends, white elsewhere on the model; None without a model."""
        depth = self._pixels(depth=True)[..., 0].astype(float)
        inside = depth < 1
        if not inside.any():
            return None
        near, far = depth[inside].min(), depth[inside].max()
        depth = np.where(inside, (depth - near) / max(far - near, 1e-6), 1.3)
        bend = np.zeros_like(depth)
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            sides = np.roll(depth, (down, right), (0, 1)) + np.roll(depth, (-down, -right), (0, 1))
            bend = np.maximum(bend, abs(sides - 2 * depth))
        edge = bend > 0.006
        drawing = np.full((*depth.shape, 4), 255, np.uint8)
        drawing[..., 3] = np.where(inside | edge, 255, 0)
        drawing[edge, :3] = 0
        return Image.fromarray(drawing)

    def _pixels(self, depth: bool) -> np.ndarray:
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        if depth:
            grab.SetInputBufferTypeToZBuffer()
        grab.Update()
        data = grab.GetOutput()
        width, height, _ = data.GetDimensions()
        values: np.ndarray = vtk_to_numpy(data.GetPointData().GetScalars())
        return values.reshape(height, width, -1)[::-1]


def mesh_of(points: np.ndarray, coordinates: np.ndarray, triangles: list[tuple[int, int, int]]) -> Any:
    """Returns a mesh of points (N, 3) with texture coordinates (N, 2), smoothly shaded."""
    cells = vtk.vtkCellArray()
    for triangle in triangles:
        cells.InsertNextCell(3, triangle)
    places = vtk.vtkPoints()
    places.SetData(numpy_to_vtk(points, deep=True))
    mesh = vtk.vtkPolyData()
    mesh.SetPoints(places)
    mesh.SetPolys(cells)
    mesh.GetPointData().SetTCoords(numpy_to_vtk(coordinates, deep=True))
    return smooth(mesh)


def mesh_in(path: Path) -> Any:
    """Returns the mesh of a Wavefront file, smoothly shaded."""
    reader = vtk.vtkOBJReader()
    reader.SetFileName(str(path))
    reader.Update()
    return smooth(reader.GetOutput())


def smooth(mesh: Any) -> Any:
    """Returns a mesh with a normal at each point."""
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(mesh)
    normals.SplittingOff()
    normals.ConsistencyOn()
    normals.AutoOrientNormalsOn()
    normals.Update()
    return normals.GetOutput()
