"""The demonstrations, moved by hand in a real browser, beside what Python computes."""

import json
import re

import pytest
import torch
from torch.testing import assert_close

from built import SITE
from chapters import documents
from normtutorial import functional as NF
from normtutorial.norms import NORMS, ORIGINAL

START = torch.tensor(
    [
        [[1, 2, 4, 3], [3, 5, 2, 6], [-2, -1, 1, -3], [4, 5, 5, 3]],
        [[10, 20, 14, 12], [1, -3, -1, 6], [6, 2, 4, 9], [-1, 3, -2, 2]],
    ],
    dtype=torch.float64,
)
COMPUTED = {
    "batch": lambda x: NF.batch_norm(x, None, None, training=True),
    "layer": lambda x: NF.layer_norm(x, (4, 4)),
    "instance": NF.instance_norm,
    "group": lambda x: NF.group_norm(x, 2),
    "rms": lambda x: NF.rms_norm(x, (4, 4), eps=1e-5),
}


@pytest.fixture(params=["mouse", "phone"])
def page(browser, request):
    touch = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    context = browser.new_context(**(touch if request.param == "phone" else {}))
    context.set_default_timeout(20_000)
    context.set_default_navigation_timeout(30_000)  # a loaded machine may take long to open a page
    page = context.new_page()
    page.press_on = lambda target: target.tap() if request.param == "phone" else target.click()
    yield page
    context.close()


def label(norm):
    return NORMS[norm].label if norm in NORMS else ORIGINAL.label


def built(chapter):
    return next(SITE / f"{one}.html" for one in documents() if one.endswith(f"/{chapter}"))


def visit(page, chapter):
    page.goto(built(chapter).as_uri())
    page.wait_for_selector(".demo-live")
    return page.locator(".demo-live").first


def shown(demo, norm):
    cells = demo.locator(f"[data-norm={norm}] td span")
    values = [float(cells.nth(i).get_attribute("data-value")) for i in range(32)]
    texts = [cells.nth(i).inner_text() for i in range(32)]
    return torch.tensor(values, dtype=torch.float64).reshape(2, 4, 4), texts


def assert_all_norms_are_pythons(demo, x):
    for name, norm in COMPUTED.items():
        values, texts = shown(demo, name)
        expected = norm(x)
        assert_close(values, expected, msg=lambda text, name=name: f"{name}: {text}")
        for text, value in zip(texts, expected.flatten().tolist(), strict=True):
            assert abs(float(text.replace("−", "-")) - value) < 0.00501


def test_try_it_computes_what_python_computes(page):
    demo = visit(page, "try_it")
    assert_all_norms_are_pythons(demo, START)
    x = START.clone()
    x[0, 2, 3], x[1, 0, 0] = -7.25, 1000.5
    demo.get_by_label("sample 1, channel 3, position 4").fill("-7.25")
    demo.get_by_label("sample 2, channel 1, position 1").fill("1000.5")
    assert_all_norms_are_pythons(demo, x)


def test_try_it_has_changes_to_press(page):
    demo = visit(page, "try_it")
    page.press_on(demo.get_by_role("button", name="add 10 to all"))
    page.press_on(demo.get_by_role("button", name="sample 1 times 3"))
    x = START + 10
    x[0] *= 3
    assert_all_norms_are_pythons(demo, x)
    page.press_on(demo.get_by_role("button", name="start again"))
    assert_all_norms_are_pythons(demo, START)


@pytest.mark.parametrize(
    "change, moved",
    [
        ("add 10 to one number", [8, 16, 4, 8, 16]),
        ("add 10 to all", [0, 0, 0, 0, 32]),
        ("sample 1 times 3", [32, 0, 0, 0, 0]),
        ("add 10 to channel 1", [0, 32, 0, 16, 32]),
    ],
)
def test_try_it_frames_what_a_change_has_moved_and_counts_it(page, change, moved):
    demo = visit(page, "try_it")
    assert demo.locator("td.moved").count() == 0
    page.press_on(demo.get_by_role("button", name=change))
    for name, count in zip(COMPUTED, moved, strict=True):
        of_norm = demo.locator(f"[data-norm={name}]")
        assert of_norm.locator("td.moved").count() == count
        assert f"{count} of 32 moved" in of_norm.inner_text()
    assert (
        f"batch norm {moved[0]}, layer norm {moved[1]}" in demo.get_by_role("status").inner_text()
    )


def test_try_it_compares_with_what_was_there_before_the_field_was_entered(page):
    demo = visit(page, "try_it")
    field = demo.get_by_label("sample 1, channel 1, position 1")
    field.focus()
    page.keyboard.press("End")
    page.keyboard.type("1")  # 11, as after the button
    page.keyboard.type("1")
    page.keyboard.press("Backspace")
    assert demo.locator("[data-norm=instance] td.moved").count() == 4
    page.keyboard.press("Backspace")
    assert demo.locator("td.moved").count() == 0


def test_try_it_says_what_it_cannot_compute(page):
    demo = visit(page, "try_it")
    field = demo.get_by_label("sample 1, channel 1, position 1")
    field.fill("")
    assert "needs a number" in demo.get_by_role("status").inner_text()
    assert shown(demo, "batch")[1] == ["–"] * 32
    field.fill("2")
    assert "needs a number" not in demo.get_by_role("status").inner_text()
    assert "–" not in shown(demo, "layer")[1]


def weights(demo):
    cells = demo.locator("[data-norm=weight] td span")
    rows = torch.tensor([float(one.get_attribute("data-value")) for one in cells.all()]).reshape(
        2, 5
    )
    return rows[:, :4].double(), rows[:, 4].double()


def test_weight_norm_takes_length_and_direction_apart_as_python_does(page):
    visit(page, "try_it")
    demo = page.locator("[data-demo=weights]")
    v, g = torch.tensor([[3, 4, 0, 0], [1, -2, 2, 4]]).double(), torch.tensor([5, 5]).double()
    w, lengths = weights(demo)
    assert_close(w, v)
    assert_close(lengths, g)
    page.press_on(demo.get_by_role("button", name="v of unit 1 times 3"))
    assert_close(weights(demo)[0], v)
    assert "moved 0 of 8" in demo.get_by_role("status").inner_text()
    page.press_on(demo.get_by_role("button", name="g of unit 1 times 2"))
    assert "moved 2 of 8" in demo.get_by_role("status").inner_text()  # the other two are zero
    demo.get_by_label("v of unit 2, weight 4").fill("-1.5")
    v[0], v[1, 3], g[0] = 3 * v[0], -1.5, 10
    w, lengths = weights(demo)
    assert_close(w, NF.weight_norm(v, g[:, None]))
    assert_close(lengths, g)


def test_weight_norm_says_that_a_row_of_zeros_has_no_direction(page):
    visit(page, "try_it")
    demo = page.locator("[data-demo=weights]")
    for weight in (1, 2):
        demo.get_by_label(f"v of unit 1, weight {weight}").fill("0")
    assert "no direction" in demo.get_by_role("status").inner_text()
    assert demo.locator("[data-norm=weight] td span").all_inner_texts()[:5] == ["–"] * 5


@pytest.mark.parametrize("chapter, first", [("batch_norm", 18), ("layer_norm", 24)])
def test_which_numbers_share_a_mean(page, chapter, first):
    demo = visit(page, chapter)
    lit = demo.locator("g.lit")
    assert lit.count() == first
    sizes = {
        "batch norm": 18,
        "layer norm": 24,
        "instance norm": 6,
        "group norm": 12,
        "RMS norm": 24,
    }
    for method, size in sizes.items():
        page.press_on(demo.get_by_text(re.compile(f"^ ?{method}")))
        assert lit.count() == size
        assert f"{size} of 72" in demo.locator(".demo-said").inner_text()
    page.press_on(demo.get_by_text(re.compile("^ ?batch norm")))
    page.press_on(demo.locator("svg").nth(2).locator("g").nth(20))  # the third sample, channel 4
    assert "channel 4" in demo.locator(".demo-said").inner_text()
    assert demo.locator("g.chosen").count() == 1


def test_norms_are_called_what_the_registry_calls_them(page):
    demo = visit(page, "batch_norm")
    names = [text.strip() for text in demo.locator("fieldset label").all_inner_texts()]
    registered = [NORMS[name].label for name in ("batch", "layer", "instance", "group", "rms")]
    assert all(map(str.startswith, names, registered)) and len(names) == 5


def test_without_the_registry_the_norms_go_by_their_names(page):
    page.route("**/norms.js*", lambda route: route.abort())
    said = []
    page.on("console", lambda message: said.append(message.text))
    demo = visit(page, "try_it")
    assert_all_norms_are_pythons(demo, START)
    assert demo.locator("[data-norm=layer] strong").inner_text() == "layer"
    assert any("norms.js was not loaded" in text for text in said)


def test_it_works_by_keyboard(page):
    demo = visit(page, "batch_norm")
    slider = demo.get_by_label("channel c")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert "channel 3" in demo.locator(".demo-said").inner_text()
    demo.get_by_role("radio", name="batch norm").focus()
    page.keyboard.press("ArrowDown")
    assert "sample 1" in demo.locator(".demo-said").inner_text()
    assert demo.locator("g.lit").count() == 24


@pytest.mark.parametrize("chapter", ["experiment", "comparison"])
def test_the_explorer_shows_what_the_chapter_recorded(page, chapter):
    data = recorded(chapter)
    demo = visit(page, chapter)
    time = demo.get_by_role("slider")
    for norm, run in data["runs"].items():
        page.press_on(demo.get_by_text(re.compile(f"^ ?{label(norm)}$")))
        for depth, layer in enumerate(run["layers"].values()):
            demo.get_by_label("Layer", exact=True).select_option(str(depth))
            time.focus()
            page.keyboard.press("Home")
            for step in (0, 1):
                text = demo.locator(".demo-said").inner_text()
                assert f"{label(norm)}, " in text and f"step {data['frames'][step]}." in text
                std = demo.locator("[data-std]").get_attribute("data-std")
                assert float(std) == layer["std"][step]
                circles = demo.locator("circle.median")
                assert circles.count() == len(layer["units"][step])
                page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    shown = [float(n.get_attribute("data-accuracy")) for n in demo.locator("[data-accuracy]").all()]
    assert shown == [a for s, a in run["evaluations"] if s <= data["frames"][-1]][-1:]
    low, high = layer["range"]
    bars = demo.locator("rect.bar")
    assert bars.count() == len(layer["shares"][-1])
    assert data["origin"] in demo.inner_text()
    assert low < high


def test_curves_show_what_the_chapter_recorded(page):
    source = built("curvature").read_text("utf-8")
    data = json.loads(
        re.search(r'data-demo="curves"><script type="application/json">(.*?)</script>', source)[1]
    )
    demo = visit(page, "curvature")
    setting, time = (
        demo.get_by_role("slider", name=data[key], exact=True) for key in ("setting", "time")
    )

    def shown():
        nodes = demo.locator("[data-value]").all()
        return [float(node.get_attribute("data-value")) for node in nodes]

    for run in (0, 1, len(data["values"]) - 1):
        setting.focus()
        page.keyboard.press("Home" if run < 2 else "End")
        for _ in range(run if run < 2 else 0):
            page.keyboard.press("ArrowRight")
        for key, moment in (("Home", 0), ("ArrowRight", 1), ("End", -1)):
            time.focus()
            page.keyboard.press(key)
            assert shown() == [panel["rows"][run][moment] for panel in data["panels"]]
            text = demo.locator(".demo-said").inner_text()
            assert f"{data['time']} {data['moments'][moment]}." in text
    plots = demo.locator("svg")
    assert plots.count() == len(data["panels"])
    assert plots.first.locator("polyline").count() == len(data["values"]) + 1
    assert plots.first.locator("circle.now").count() == 1
    guided = [panel for panel in data["panels"] if panel["guide"] is not None]
    assert demo.locator("line.guide").count() == len(guided) > 0


def recorded(chapter: str) -> dict:
    """What the page of a chapter carries for its demonstration."""
    source = built(chapter).read_text("utf-8")
    found = re.search(r'<script type="application/json">(\{"origin".*?)</script>', source)
    return json.loads(found[1])


def test_the_line_between_two_networks_shows_what_the_chapter_recorded(page):
    data = recorded("averaging")
    demo = visit(page, "averaging")
    slider = demo.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == "50 % of network b"
    for line in data["lines"]:
        page.press_on(demo.get_by_role("radio", name=line["units"]))
        page.press_on(demo.get_by_role("radio", name=line["statistics"]))
        slider.focus()
        page.keyboard.press("Home")
        for stop in (0, 1):
            accuracy = demo.locator("[data-accuracy]").get_attribute("data-accuracy")
            assert float(accuracy) == line["accuracy"][stop]
            left = demo.locator("[data-left]").get_attribute("data-left")
            assert float(left) == line["left"][stop][-1]
            digit, share = line["most"][stop]
            said = demo.locator(".demo-said").inner_text()
            assert f"units {line['units']}, {line['statistics']} statistics" in said
            assert f"{100 * share:.1f} % of all images are named {digit}" in said
            assert demo.locator("rect.bar").count() == len(line["left"][stop]) == 6
            page.keyboard.press("ArrowRight")
    assert demo.locator("polyline").count() == len(data["lines"]) + 1
    assert data["origin"] in demo.inner_text()


def test_the_painter_shows_the_pictures_that_the_chapter_recorded(page):
    data = recorded("convolutions")
    demo = visit(page, "convolutions")
    sliders = demo.get_by_role("slider")
    assert sliders.count() == 2
    gray = """node => {
        const seen = node.getContext("2d").getImageData(0, 0, node.width, node.height).data;
        return seen.filter((_, i) => i % 4 === 0).reduce((a, b) => a + b) / (255 * seen.length / 4);
    }"""
    for pair in data["pairs"]:
        page.press_on(demo.get_by_role("radio", name="{} to {}".format(*pair["digits"])))
        sliders.nth(0).focus()
        page.keyboard.press("Home")
        sliders.nth(1).focus()
        page.keyboard.press("Home")
        for coarse, fine, slider in ((0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 2, 0)):
            ink = float(demo.locator("[data-ink]").get_attribute("data-ink"))
            assert ink == pair["ink"][coarse][fine]
            assert demo.locator("canvas").evaluate(gray) == pytest.approx(ink, abs=0.002)
            sliders.nth(slider).focus()
            page.keyboard.press("ArrowRight")
    text = sliders.nth(1).get_attribute("aria-valuetext")
    assert text == "33 % of the way from {} to {}".format(*pair["digits"])
    assert data["origin"] in demo.inner_text()


@pytest.mark.parametrize(
    "chapter",
    [
        "try_it",
        "batch_norm",
        "layer_norm",
        "experiment",
        "comparison",
        "curvature",
        "averaging",
        "convolutions",
    ],
)
def test_without_javascript_and_on_paper_something_stands_in(browser, chapter):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(built(chapter).as_uri())
    assert "needs JavaScript" in page.locator(".demo").first.inner_text().replace("\n", " ")
    context.close()
    context = browser.new_context()
    page = context.new_page()
    page.goto(built(chapter).as_uri())
    page.emulate_media(media="print")
    demo = page.locator(".demo.demo-live").first
    controls = demo.locator("button, select, [type=range]").filter(visible=True)
    assert demo.is_visible() and not controls.count()
    told = demo.evaluate("demo => getComputedStyle(demo, '::after').content")
    assert told.startswith('"A still picture.')
    context.close()
