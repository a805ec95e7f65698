"""Programs in which participants are enrolled (seed 003)."""

from __future__ import annotations

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import require_admin
from api.http.describe import IS_ACTIVE, PAGE, Id, MessageAnswer, Moment, describe, shown
from api.http.responses import answer
from api.http.tenant_session import transaction
from api.input.validation import Body, Name, Text, body
from api.resources.definitions.crud import Managed
from models.definitions import programs

blueprint = Blueprint("programs", __name__)


class NewProgram(Body):
    """A program to create."""

    name: Name
    description: Text | None = None
    is_active: bool = True


class ProgramChange(NewProgram):
    """The changeable fields of a program; fields that are not given keep their values."""

    name: Name = ""


class ProgramItem(TypedDict):
    """A program as admins see it."""

    id: Id
    name: str
    description: str | None
    is_active: bool
    created_at: Moment
    updated_at: Moment


class ProgramPage(TypedDict):
    """A page of programs."""

    items: list[ProgramItem]
    total: int
    page: int
    page_size: int


_PROGRAMS = Managed("program", programs.definitions, audit_by="id", open=transaction)


@blueprint.get("/admin/programs")
@describe(
    "List programs",
    answers={200: ProgramPage},
    parameters=(IS_ACTIVE, *PAGE),
)
@require_admin
def list_programs() -> Response:
    """A page of the tenant's programs, oldest first."""
    page = _PROGRAMS.page()
    return page.answer([shown(ProgramItem, program) for program in page.found])


@blueprint.post("/admin/programs")
@describe(
    "Create a program",
    answers={201: ProgramItem},
    body=NewProgram,
    example={"name": "Loyalty", "description": "For customers of the shop."},
)
@require_admin
def create_program() -> Response:
    """Create a program."""
    new = body(NewProgram)
    with transaction() as connection:
        program = _PROGRAMS.create(connection, new.model_dump(), new)
    return answer(shown(ProgramItem, program), 201)


@blueprint.get("/admin/programs/<program_id>")
@describe("Get a program", answers={200: ProgramItem}, problems=("program_not_found",))
@require_admin
def get_program(program_id: str) -> Response:
    """One program."""
    return answer(shown(ProgramItem, _PROGRAMS.find(program_id)))


@blueprint.patch("/admin/programs/<program_id>")
@describe(
    "Change a program",
    answers={200: ProgramItem},
    body=ProgramChange,
    example={"name": "Loyalty Plus"},
    problems=("program_not_found", "no_fields_to_update"),
)
@require_admin
def change_program(program_id: str) -> Response:
    """Change the given fields of a program."""
    before = _PROGRAMS.find(program_id)
    values = body(ProgramChange).model_dump(exclude_unset=True)
    with _PROGRAMS.revising(before, values) as connection:
        return answer(shown(ProgramItem, programs.definitions.revise(connection, before, values)))


@blueprint.delete("/admin/programs/<program_id>")
@describe("Deactivate a program", answers={200: MessageAnswer}, problems=("program_not_found",))
@require_admin
def deactivate_program(program_id: str) -> Response:
    """Stop new enrolments; enrolled participants stay."""
    _PROGRAMS.change(program_id, {"is_active": False})
    return answer(MessageAnswer(message="Program deactivated"))
