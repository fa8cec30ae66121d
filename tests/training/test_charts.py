"""Charts: well-formed SVG whatever is drawn."""

import xml.etree.ElementTree as ElementTree

from rvc_colab.training import charts

SVG = "{http://www.w3.org/2000/svg}"


def test_a_page_of_charts_is_well_formed_whatever_the_names_and_numbers() -> None:
    panels = [
        charts.curves("a < b & c", {"one": [(0, 1.0), (5, float("nan")), (9, 3.0)]}, mark=5),
        charts.curves("nothing", {"one": []}),
        charts.histogram("all the same", [2.0, 2.0]),
        charts.dots("two", {"<x>": [(0, 0)], "y": [(1, 1), (float("inf"), 0)]}),
    ]
    page = ElementTree.fromstring(charts.page(panels))
    assert len(page.findall(f"{SVG}svg")) == 4


def test_a_curve_rises_where_its_values_do_and_long_ones_are_thinned() -> None:
    drawn = ElementTree.fromstring(charts.curves("up", {"one": [(x, x) for x in range(5000)]}))
    line = drawn.find(f"{SVG}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) < 500 and points[0][0] < points[-1][0] and points[0][1] > points[-1][1]


def test_a_curve_of_one_point_is_seen() -> None:
    drawn = ElementTree.fromstring(charts.curves("new", {"one": [(3, 1.0)]}))
    assert len(drawn.findall(f"{SVG}circle")) == 1
