"""Ask the live model: one row by a form, or the rows of a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nicegui import html, ui

from dropforge.domain.figures import figure, percent
from dropforge_ops.actions.prediction_api import PredictionApi
from dropforge_ops.console.components.actions import button
from dropforge_ops.console.components.feedback import empty_state, error_banner, notice
from dropforge_ops.console.components.intervals import share_bar
from dropforge_ops.console.components.layout import heading
from dropforge_ops.console.components.text import chip, facts, link, moment
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.pages.trying_call import SameCall, draw_call
from dropforge_ops.console.pages.trying_files import draw_files
from dropforge_ops.console.reading.trying import (
    Field,
    Form,
    Row,
    ask,
    instance_of,
    problems_of,
    read_form,
    texts_of,
)
from dropforge_ops.errors import CommandError, NotFound

_LOGGING_HINT: Final = "A logged prediction has an id, is watched for drift, and can be given its outcome."
_FILTERED_FROM: Final = 8


@dataclass
class _Asking:
    """One browser's form."""

    context: Context
    form: Form
    inputs: dict[str, Any] = field(default_factory=dict)
    log: Any = None
    example: int = 0

    def texts(self) -> dict[str, str]:
        return {name: str(each.value if each.value is not None else "") for name, each in self.inputs.items()}

    def fill(self, texts: Mapping[str, str]) -> None:
        for name, each in self.inputs.items():
            text = texts.get(name, "")
            if isinstance(each, ui.select) and text and text not in each.options:
                each.set_options([*each.options, text])
            each.set_value(text or None if isinstance(each, ui.select) else text)
        self.show_problems({})

    def show_problems(self, problems: Mapping[str, str]) -> None:
        for name, each in self.inputs.items():
            problem = problems.get(name)
            each.props["error"] = problem is not None
            each.props["error-message"] = problem or ""
            each.update()


async def build(context: Context) -> None:
    """The form of the model that is live."""
    heading("Try it", "Ask the live model, as your application would")
    try:
        form = await context.read(read_form, context.ledger, context.documents)
    except NotFound as error:
        if context.ledger.live() is not None:
            raise
        empty_state(
            "No model is live yet",
            str(error).removeprefix("No model is live yet. "),
            icon="smart_toy",
            commands=("dropforge drop FILE --wait", "dropforge approve latest --wait"),
        )
        return
    asking = _Asking(context, form)
    with html.div().classes("inline"):
        link(f"Version {form.live.version}", f"/models/{form.live.version}")
        chip("live", "ok")
        html.span(f"predicts {form.contract.target} from {len(form.fields)} columns").classes("dim")
    with html.div().classes("ask"):
        row = html.section().classes("card")
        with html.div().classes("ask-side"):
            with html.section().classes("card").props("aria-live=polite") as answer:
                _draw_no_answer()
            with html.section().classes("card"):
                outcome = _draw_outcome(context, form)
    with row:
        html.h2("One row")
        _draw_form(asking)
    same_call = await draw_call(context)
    same_call.show(instance_of(form.contract, asking.texts()))
    with row:
        _draw_buttons(asking, answer, outcome, same_call)
    draw_files(context, form)


def _draw_form(asking: _Asking) -> None:
    with html.div().classes("form-grid"):
        for each in asking.form.fields:
            asking.inputs[each.name] = draw_field(each)
    asking.log = ui.checkbox("Log it", value=True).props("dense")
    html.p(_LOGGING_HINT).classes("hint")
    asking.fill(texts_of(asking.form, asking.form.examples[0]) if asking.form.examples else {})


def draw_field(each: Field) -> Any:
    """The control of one column; what was seen and what is demanded stand below it."""
    hint = ", ".join(part for part in (_kind(each), each.rule, each.seen) if part)
    made: Any
    if each.choices:
        options = list(each.choices)
        searches = not each.is_closed or len(options) > _FILTERED_FROM
        made = ui.select(
            options,
            label=each.name,
            with_input=searches,
            new_value_mode=None if each.is_closed else "add-unique",
            clearable=each.column.nullable,
        )
    elif each.column.type == "text":
        # An input of one line drops the breaks between lines, and two words become one.
        made = ui.textarea(each.name).props("autogrow")
    else:
        made = ui.input(each.name)
        if each.column.type in ("number", "integer"):
            made.props("inputmode=decimal")
        if each.column.type == "timestamp":
            made.props["placeholder"] = "2026-01-31T12:00:00Z"
    made.props("outlined dense hide-bottom-space=false options-dense").classes("field")
    made.props["hint"] = hint
    return made


def _kind(each: Field) -> str:
    privacy = {"drop": ", never logged", "hash": ", logged as a pseudonym"}.get(each.column.privacy or "", "")
    return f"{each.column.type}{privacy}"


def _draw_buttons(asking: _Asking, answer: html.section, outcome: _Outcome, same_call: SameCall) -> None:
    async def predict() -> None:
        contract = asking.form.contract
        instance = instance_of(contract, asking.texts())
        problems = problems_of(contract, instance)
        asking.show_problems(problems)
        if problems:
            count = len(problems)
            _say(
                answer,
                f"{count} {'column needs' if count == 1 else 'columns need'} another "
                "value; nothing was sent.",
            )
            return
        row = Row(1, {}, instance)
        started = time.monotonic()
        send.props("loading")
        try:
            answers = await asking.context.read(
                ask, asking.context.target, asking.form, [row], log=bool(asking.log.value)
            )
        except CommandError as error:
            _say(answer, str(error))
            return
        finally:
            send.props(remove="loading")
        if 1 in answers.problems:
            _say(answer, answers.problems[1])
            return
        found = answers.predictions[1]
        answer.clear()
        with answer:
            _draw_answer(asking.form, found, answers.version, time.monotonic() - started)
        _bring_into_sight(answer)
        outcome.about(found.get("id"))
        same_call.show(instance)

    def next_example() -> None:
        examples = asking.form.examples
        asking.example = (asking.example + 1) % len(examples)
        asking.fill(texts_of(asking.form, examples[asking.example]))

    with html.div().classes("inline"):
        send = button("Predict", predict, "primary")
        if len(asking.form.examples) > 1:
            button("Another example", next_example)
        button("Clear", lambda: asking.fill({}))
    for each in asking.inputs.values():
        if isinstance(each, ui.input) and not isinstance(each, ui.textarea):
            each.on("keydown.enter", predict)


def _draw_no_answer() -> None:
    html.h2("Answer")
    html.p("The form holds a row of the hold-out. Change what you like, then predict.").classes("dim")


def _say(answer: html.section, problem: str) -> None:
    answer.clear()
    with answer:
        html.h2("Answer")
        error_banner(problem)
    _bring_into_sight(answer)


def _bring_into_sight(answer: html.section) -> None:
    """On a small screen the answer stands below the form."""
    answer.client.run_javascript(
        f"document.getElementById('{answer.html_id}').scrollIntoView({{block: 'nearest'}})"
    )


def _draw_answer(form: Form, found: Mapping[str, Any], version: int, seconds: float) -> None:
    html.h2("Answer")
    if version != form.live.version:
        notice(f"Version {version} went live meanwhile and answered. Reload the page for its form.")
    if "label" in found:
        _draw_label(form, found)
    else:
        _draw_value(form, float(found["value"]))
    facts(
        {
            "version": lambda: link(str(version), f"/models/{version}"),
            "took": f"{seconds * 1000:,.0f} ms from here",
            "prediction id": (lambda: html.code(str(found["id"])).classes("mono")) if "id" in found else None,
        }
    )


def _draw_label(form: Form, found: Mapping[str, Any]) -> None:
    label = str(found["label"])
    shares = sorted(found["probabilities"].items(), key=lambda each: -each[1])
    html.div(label).classes("value")
    with html.div().classes("bars"):
        for name, share in shares[:10]:
            html.span(str(name)).classes("bars-name")
            share_bar(share)
            html.span(percent(share)).classes("bars-value")
    if len(shares) > 10:
        html.p(f"and {len(shares) - 10} more classes").classes("dim")
    base = form.base_rate(label)
    sentence = f"The model gives {label!r} {percent(found['probabilities'][label])}"
    if base is not None:
        share = percent(base)
        sentence += f"; in training {share} of the rows were {label!r}"
    reason = "The label is the class of the highest probability."
    if found["probabilities"][label] < shares[0][1]:
        reason = f"The model's decision threshold makes it the label, though {shares[0][0]!r} is likelier."
    html.p(f"{sentence}. {reason}").classes("dim")


def _draw_value(form: Form, value: float) -> None:
    html.div(figure(value)).classes("value")
    rank = form.rank(value)
    if rank is not None:
        html.p(
            f"That is at least as much as {form.contract.target} was in {percent(rank)} of the training "
            "rows, which went "
            f"from {figure(form.target.get('minimum'))} to {figure(form.target.get('maximum'))}."
        ).classes("dim")


@dataclass
class _Outcome:
    """The card in which the outcome of a prediction is reported."""

    identifier: Any

    def about(self, prediction_id: str | None) -> None:
        """Offer to report the outcome of this prediction."""
        if prediction_id is not None:
            self.identifier.set_value(prediction_id)


def _draw_outcome(context: Context, form: Form) -> _Outcome:
    classes = form.contract.classes
    html.h2("What came true")
    html.p(
        "Report it once it is known: live quality is measured by it, and retraining learns from it."
    ).classes("dim")
    identifier = ui.input("Prediction id").props("outlined dense").classes("field mono")
    truth: Any
    if classes is None:
        truth = (
            ui.input(f"True {form.contract.target}")
            .props("outlined dense inputmode=decimal")
            .classes("field")
        )
    else:
        truth = ui.select(list(classes), label=f"True {form.contract.target}").props("outlined dense")
        truth.classes("field")
    api = PredictionApi(context.target)
    buttons = html.div().classes("inline")
    said = html.div().classes("stacked").props("aria-live=polite")

    async def report() -> None:
        said.clear()
        with said:
            try:
                document = _outcome_of(str(identifier.value or ""), truth.value, classes is None)
                await context.read(api.record_outcomes, [document])
            except CommandError as error:
                error_banner(str(error))
                return
            notice("The outcome is recorded.", tone="ok")

    async def look_up() -> None:
        said.clear()
        with said:
            try:
                found = await context.read(api.find, str(identifier.value or "").strip() or "none")
            except CommandError as error:
                error_banner(str(error))
                return
            _draw_logged(found)

    with buttons:
        button("Report outcome", report)
        button("Look it up", look_up)
    return _Outcome(identifier)


def _outcome_of(identifier: str, truth: Any, is_number: bool) -> dict[str, Any]:
    if not identifier.strip() or truth in (None, ""):
        raise NotFound("Give the prediction's id and what came true.")
    if not is_number:
        return {"id": identifier.strip(), "label": truth}
    try:
        return {"id": identifier.strip(), "value": float(truth)}
    except ValueError as error:
        raise NotFound(f"{truth!r} is no number.") from error


def _draw_logged(found: Mapping[str, Any]) -> None:
    prediction = found["prediction"]
    facts(
        {
            "asked": lambda: moment(found["at"]),
            "version": found["model_version"],
            "predicted": prediction.get("label", prediction.get("value")),
            "outcome": "not known yet" if found["outcome"] is None else found["outcome"],
            "inputs": ", ".join(f"{name} {value}" for name, value in found["inputs"].items()),
        }
    )


PAGE: Final = Page("/try", "Try it", build, icon="play_arrow")
