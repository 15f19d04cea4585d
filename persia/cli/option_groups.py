"""Options of a command in groups: the command gets each group as one value, and its help has a section for each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

__all__ = ["GroupedCommand", "SectionOption", "option_group", "refuse_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]


class SectionOption(click.Option):
    """An option that stands under a heading of its own in the help."""

    def __init__(self, *arguments: Any, section: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section


class GroupedCommand(click.Command):
    """A command whose help has a section for each group, and one for options of no group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections in the order in which their first options stand."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option_group(argument: str, kind: type[Any], heading: str, **options: dict[str, Any]) -> _Decorator[Any]:
    """A decorator for a command's function, which gets the values of these options as one `kind` in `argument`.

    kind: a dataclass. options: for each of its fields, what click.option takes; `flag` is the option's own name where it
    differs from the field's.
    """
    names = [field.name for field in fields(kind)]
    assert names == list(options), f"{kind.__name__} has other fields than options: {names}, {list(options)}"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def grouped(**values: Any) -> Any:
            values[argument] = kind(**{name: values.pop(name) for name in names})
            return function(**values)

        for name in reversed(names):  # the decorator of the first option is the last to be applied
            settings = dict(options[name])
            flag = settings.pop("flag", "--" + name.replace("_", "-"))
            grouped = click.option(flag, name, cls=SectionOption, section=heading, **settings)(grouped)
        return grouped

    return decorate


def refuse_options(context: click.Context, kind: type[Any], chosen: str) -> None:
    """Raises click.UsageError if the command line has an option of a group that means nothing beside `chosen`."""
    names = {field.name for field in fields(kind)}
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
        if given and parameter.name in names:
            section = getattr(parameter, "section", "")
            raise click.UsageError(f"{parameter.opts[0]} says nothing of {chosen}: it is for {section[0].lower()}{section[1:]}")
