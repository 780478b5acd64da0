"""The lab as a reader has it: the built page, opened as a file."""

import itertools
import statistics
import time

import pytest

from built import SITE, compressed
from chapters import ROOT
from check_html import Page, leads_nowhere
from lab_page import answer, expected, opened
from test_pages import OVERFLOW, violations

LAB = ROOT / "book" / "_static" / "lab"
PAGE, FIRST = ((SITE / "book" / f"{name}.html").as_uri() for name in ("lab", "intro"))
ELEMENT = "document.querySelector('[data-demo=lab]')"
TASKS = """window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((e) => e.duration)))
  .observe({ type: "longtask" });"""


class Visit:
    """A page with a lab, and what went wrong on it."""

    def __init__(self, browser, page=PAGE, fragment="", **options) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(page + fragment)
        self.page.wait_for_selector(".lab.demo-live")
        self.lab = self.page.locator(".lab")

    def hear(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def call(self, javascript: str):
        """Of ``lab``, the element's interface."""
        return self.page.evaluate(f"async () => {{ const {{ lab }} = {ELEMENT}; {javascript} }}")

    def state(self):
        return self.call("return lab.state()")

    def until(self, condition: str) -> None:
        self.page.wait_for_function(
            f"() => {{ const state = {ELEMENT}.lab.state(); return {condition} }}"
        )


@pytest.fixture
def visit(browser):
    made = []

    def make(*arguments, **options) -> Visit:
        made.append(Visit(browser, *arguments, **options))
        return made[-1]

    yield make
    for one in made:
        assert one.errors == []
        one.context.close()


def test_steps_are_those_of_the_settings_and_come_again_from_their_seed(visit):
    one = visit()
    first = one.call("await lab.step(40); return lab.state()")
    assert first["step"] == 40 and not first["playing"]
    assert [run["norm"] for run in first["runs"]] == ["none", "batch"]
    assert [len(run["loss"]) for run in first["runs"]] == [40, 40]
    assert [[at for at, _ in run["accuracy"]] for run in first["runs"]] == [[0, 20, 40]] * 2
    again = one.call(
        "await lab.reset(); await lab.step(25); await lab.step(15); return lab.state()"
    )
    assert again == first
    other = one.call("await lab.reset({ seed: 1 }); await lab.step(40); return lab.state()")
    assert other["runs"][0]["loss"] != first["runs"][0]["loss"]
    same = one.call(
        "await lab.reset({ norms: ['layer', 'layer'] }); await lab.step(40); return lab.state()"
    )
    assert same["runs"][0] == same["runs"][1]


def test_it_plays_pauses_and_steps_by_keyboard_alone(visit):
    one = visit()
    button = one.lab.get_by_role("button", name="Play")
    button.focus()
    one.page.keyboard.press("Enter")
    one.until("state.step > 5")
    assert one.lab.get_by_role("button", name="Pause").evaluate("b => b === document.activeElement")
    one.page.keyboard.press("Enter")
    one.until("!state.playing")
    one.page.wait_for_timeout(300)
    step = one.state()["step"]
    one.page.wait_for_timeout(300)
    assert one.state()["step"] == step
    one.page.keyboard.press("Tab")
    one.page.keyboard.press("Enter")
    one.until(f"state.step === {step + 1}")
    assert f"Step {step + 1}." in one.lab.locator(".lab-status").inner_text()
    one.page.keyboard.press("Tab")
    one.page.keyboard.press("Enter")
    one.until("state.step === 0")
    slider = one.lab.get_by_label("Hidden layers")
    slider.focus()
    one.page.keyboard.press("End")
    one.until("state.settings.depth === 8 && state.runs[1].accuracy.length === 1")
    assert one.lab.locator(".lab-layer:visible").count() == 8
    assert slider.get_attribute("aria-valuetext") == "8"


def test_what_is_live_acts_on_running_networks_and_the_rest_starts_anew(visit):
    one = visit()
    one.call("await lab.step(20)")
    one.lab.get_by_label("Learning rate").press("Home")
    one.lab.get_by_label("Batches").select_option("sorted")
    before = one.call("await lab.step(1); return lab.state()")
    assert before["step"] == 21
    assert (before["settings"]["lr"], before["settings"]["order"]) == (0.0001, "sorted")
    own = one.lab.get_by_label("Batch norm is tested with")
    own.select_option("batch")
    plain, batch = one.state()["runs"]
    assert plain["accuracy"] == before["runs"][0]["accuracy"]
    assert batch["accuracy"] != before["runs"][1]["accuracy"]
    one.lab.get_by_label("Optimizer").select_option("adam")
    one.until("state.step === 0 && state.runs[0].accuracy.length === 1")


def test_a_situation_stands_in_the_address(visit):
    one = visit()
    one.lab.get_by_label("Activation").select_option("tanh")
    one.lab.get_by_label("Second run").select_option("rms")
    one.lab.get_by_label("Learning rate").press("ArrowRight")
    address = one.page.evaluate("location.hash")
    two = visit(PAGE, address)
    assert two.state()["settings"] == one.state()["settings"]
    assert two.state()["settings"]["norms"] == ["none", "rms"]
    three = visit(PAGE, "#lab?lr=99&depth=2.5&norms=batch,nonsense&width=16&preset=toString")
    settings = three.state()["settings"]
    assert (settings["lr"], settings["depth"], settings["width"]) == (10, 3, 16)
    assert settings["norms"] == ["batch", "batch"] and three.state()["preset"] is None


def test_a_question_is_answered_when_it_has_been_guessed_and_run(visit):
    one = visit()
    one.lab.get_by_label("Begin with a question").select_option("comparison")
    assert one.page.evaluate("location.hash") == "#lab?preset=comparison"
    assert one.state()["preset"] == "comparison" and one.state()["settings"]["lr"] == 2
    one.lab.get_by_label("Steps a second").select_option("all it can")
    one.page.wait_for_timeout(300)
    assert one.state()["step"] == 0
    one.lab.get_by_role("radio", name="Both").check()
    one.lab.get_by_role("button", name="Run it").click()
    one.lab.get_by_text("Your guess: Both.").wait_for()
    said = one.lab.locator(".lab-asked [role=status]")
    assert said.evaluate("node => node === document.activeElement")
    assert said.get_by_role("link", name="Comparison").count() == 1
    assert "measured" in one.lab.locator("label.right").inner_text()
    assert "Batch norm alone" in one.lab.locator("label.right").inner_text()
    state = one.state()
    assert (state["step"], state["playing"]) == (200, False)
    plain, batch = (f"{100 * run['accuracy'][-1][1]:.0f} %" for run in state["runs"])
    assert f"{plain} with no norm, {batch} with batch norm" in said.inner_text()
    one.lab.get_by_label("Seed").press("ArrowRight")
    assert (one.state()["preset"], one.state()["settings"]["seed"]) == ("comparison", 1)
    assert one.page.evaluate("location.hash") == "#lab?preset=comparison&seed=1"
    assert one.lab.get_by_role("button", name="Run it").is_visible()
    one.lab.get_by_label("Learning rate").press("ArrowRight")
    assert one.state()["preset"] is None and one.lab.locator(".guess").count() == 0


def test_a_run_that_diverges_says_so_and_leaves_the_other_one_alone(visit):
    one = visit(PAGE, "#lab?norms=none,layer&scale=100&depth=8&lr=10")
    one.call("await lab.step(60)")
    state = one.state()
    diverged = [run["diverged"] for run in state["runs"]]
    assert diverged[0] is not None and len(state["runs"][0]["loss"]) == diverged[0]
    one.page.wait_for_timeout(200)
    assert f"diverged at step {diverged[0]}" in one.lab.locator(".run-0 .lab-reading").inner_text()
    one.lab.get_by_text("All numbers as a table").click()
    one.lab.locator("table", has_text="no number").wait_for()


def test_the_table_has_the_numbers_of_the_pictures(visit):
    one = visit()
    one.call("await lab.step(20)")
    one.lab.get_by_text("All numbers as a table").click()
    one.lab.locator("tbody tr:visible").first.wait_for()
    rows = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in one.lab.locator("tbody tr:visible").all()
    }
    runs = one.state()["runs"]
    assert rows["right, running statistics"] == [
        f"{100 * run['accuracy'][-1][1]:.0f} %" for run in runs
    ]
    losses = [float(text) for text in rows["mean loss of the last 20 steps"]]
    assert losses == pytest.approx([statistics.mean(run["loss"]) for run in runs], rel=0.05)
    assert len(rows) == 3 + 4 * 3 + 1


def test_a_hidden_tab_pauses(visit):
    one = visit()
    one.call("lab.play()")
    one.until("state.step > 0")
    one.page.evaluate("""() => {
      Object.defineProperty(document, "hidden", { get: () => true });
      document.dispatchEvent(new Event("visibilitychange"));
    }""")
    one.until("!state.playing")


def test_with_reduced_motion_the_pictures_follow_once_a_second(visit):
    one = visit(reduced_motion="reduce")
    one.until("state.runs[0].accuracy.length === 1")
    changes = one.call("""let changes = 0;
      new MutationObserver(() => { changes += 1; })
        .observe(document.querySelector(".lab-chart path.run-0"), { attributes: true });
      lab.play();
      await new Promise((done) => setTimeout(done, 2500));
      return changes""")
    assert 1 <= changes <= 4 and one.state()["step"] > 4


def test_nothing_moves_before_it_is_asked_to(visit):
    one = visit()
    one.until("state.runs[0].accuracy.length === 1")
    one.page.wait_for_timeout(500)
    assert (one.state()["step"], one.state()["playing"]) == (0, False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_all_is_open(scheme, visit, server):
    page = f"{server}/book/lab.html"  # axe reads the styles, which it may not of a file
    one = visit(page, "#lab?preset=signals", color_scheme=scheme, reduced_motion="reduce")
    one.call("await lab.step(20)")
    one.lab.get_by_text("All numbers as a table").click()
    assert one.errors == []
    assert violations(one.page) == []
    one.errors.clear()  # axe looks for styles where there are none


def test_a_phone_shows_all_of_it(visit):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    one = visit(PAGE, "#lab?preset=sorted&depth=8", **phone)
    one.lab.get_by_role("button", name="Play").tap()
    one.until("state.step > 2")
    one.lab.get_by_role("button", name="Pause").tap()
    one.lab.get_by_text("All numbers as a table").tap()
    assert one.page.evaluate(OVERFLOW) == [0, []]
    assert one.page.evaluate("visualViewport.scale") == 1


def test_it_is_fast_and_leaves_the_page_to_the_reader(visit, browser, figures):
    """Per second of the processor, the page's own work included: other tests may be running, which
    stretch each task by as much as they do the steps."""
    one = visit()
    one.page.evaluate(TASKS)
    session = browser.new_browser_cdp_session()

    def worked() -> float:
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(p["cpuTime"] for p in processes if p["type"] == "renderer")

    rates, by_clock, stretched, longest = [], [], [], []
    for _ in range(4):
        one.call("await lab.reset({ pace: 0 }); window.tasks.length = 0")
        began, before = time.monotonic(), worked()
        one.call(
            "lab.play(); await new Promise((done) => setTimeout(done, 1500)); await lab.pause()"
        )
        seconds, elapsed = worked() - before, time.monotonic() - began
        rates.append(one.state()["step"] / seconds)
        by_clock.append(one.state()["step"] / elapsed)
        stretched.append(max(1, elapsed / seconds))
        longest.append(one.page.evaluate("Math.max(0, ...window.tasks)"))
    tasks = [task / factor for task, factor in zip(longest, stretched, strict=True)]
    figures("lab: steps a second of one core, both runs", max(rates))
    figures("lab: steps a second by the clock, while others ran", max(by_clock))
    figures("lab: longest task of the page, ms", min(tasks))
    assert max(rates) > 150
    assert min(tasks) <= 50


def test_a_minute_of_training_takes_no_more_memory(visit, figures):
    one = visit()
    session = one.context.new_cdp_session(one.page)

    def heap() -> float:
        session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"] / 1e6

    one.call("await lab.reset({ pace: 0, width: 8, depth: 1 }); lab.play()")
    one.page.wait_for_timeout(15_000)
    before = heap()
    one.page.wait_for_timeout(45_000)
    after = heap()
    figures("lab: growth of memory in 45 s, MB", after - before)
    state = one.state()
    assert after - before < 3
    assert all(len(run["loss"]) < 4096 for run in state["runs"])
    assert all(run["diverged"] is None for run in state["runs"])


def test_a_long_curve_keeps_its_shape_in_fewer_points(visit):
    kept, curve, recent = visit().page.evaluate("""() => {
      const run = new window.normtutorial.lab.Record("none");
      for (let i = 0; i < 10000; i += 4) {
        const loss = [0, 1, 2, 3].map((j) => [i + j, 2 * (i + j)]);
        run.extend({ loss, accuracy: [[i, { running: i }]], diverged: null });
      }
      return [[run.loss.length, run.accuracies.length], run.curve(150), run.recent];
    }""")
    assert max(kept) < 4096 and 100 < len(curve) <= 150
    assert all(y == pytest.approx(2 * x) for x, y in curve)
    ends = [0, *(x for x, _ in curve), 10000]
    gaps = [after - before for before, after in itertools.pairwise(ends)]
    assert min(gaps) > 0 and max(gaps) < 0.03 * 10000  # of the chart's width
    assert recent == pytest.approx(2 * 9989.5)


def test_the_first_page_has_a_small_one_that_loads_its_images_when_it_is_played(visit):
    one = visit(FIRST)
    assert one.page.locator("script[src*='digits.js']").count() == 0
    assert one.lab.get_by_role("slider").count() == 1
    one.lab.get_by_role("button", name="Play").click()
    one.until("state.step > 10")
    assert one.page.locator("script[src*='digits.js']").count() == 1
    one.call("lab.pause()")


@pytest.mark.parametrize("way", ["without JavaScript", "on paper"])
def test_a_still_picture_stands_in(way, browser):
    context = browser.new_context(java_script_enabled=way != "without JavaScript")
    page = context.new_page()
    page.goto(FIRST)
    if way == "on paper":
        page.emulate_media(media="print")
    assert page.locator(".lab img").is_visible()
    assert page.locator(".lab img").evaluate("image => image.naturalWidth") > 0
    assert (
        page.locator(".lab button").count() == 0
        or not page.locator(".lab button").first.is_visible()
    )
    context.close()


def test_other_pages_load_none_of_it():
    texts = [
        (SITE / "book" / f"{name}.html").read_text("utf-8")
        for name in ("lab", "intro", "reference/try_it")
    ]
    assert ["lab/network.js" in text for text in texts] == [True, True, False]
    assert not any("lab/digits.js" in text for text in texts)


@pytest.mark.parametrize("name", ["sorted", "comparison", "batch_size"])
def test_a_question_has_the_answer_of_the_page_at_ten_seeds(name, browser):
    with opened(browser) as page:
        right = expected(page)[name]
        told = [answer(page, name, seed) for seed in range(20, 30)]
    assert [choice for choice, _ in told] == [right] * 10, told


def test_a_link_to_a_situation_leads_somewhere():
    page = SITE / "book" / "intro.html"
    pages = {
        path.resolve(): Page(path.read_text("utf-8")) for path in (SITE / "book" / "lab.html",)
    }
    assert not leads_nowhere("lab.html#lab?preset=signals", page, pages)
    assert leads_nowhere("lab.html#laboratory?preset=signals", page, pages)


def test_the_scripts_are_light(figures):
    scripts = [path for path in LAB.glob("*.js") if path.name != "digits.js"]
    assert {"network.js", "training.js", "view.js"} <= {path.name for path in scripts}
    assert all(len(path.read_text("utf-8").splitlines()) < 400 for path in scripts)
    sent = sum(compressed(path.read_bytes(), "text/javascript") for path in scripts)
    figures("lab: scripts as they are sent, kB", sent / 1000)
    figures("lab: scripts as they are written, kB", sum(p.stat().st_size for p in scripts) / 1000)
    assert sum(path.stat().st_size for path in scripts) <= 45_000
    assert (LAB / "digits.js").stat().st_size <= 350_000
