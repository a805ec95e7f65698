"""Programs that participants are enrolled in (seed 003)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from typing_extensions import TypedDict

from api.http.auth import require_admin, tenant
from api.http.describe import IS_ACTIVE, PAGE, Id, MessageAnswer, Moment, describe
from api.http.problems import not_found
from api.http.responses import answer
from api.http.tenant_session import reading, transaction
from api.input.field_types import uuid_in_path
from api.input.validation import Body, Name, Text, body, page_window, query_bool, some_fields
from api.resources.shared import audit
from models import clock
from models.definitions import programs
from models.errors import NotFound

blueprint = Blueprint("programs", __name__)


class NewProgram(Body):
    """A program to create."""

    name: Name
    description: Text | None = None
    is_active: bool = True


class ProgramChange(Body):
    """What may be changed of a program; what is not given stays."""

    name: Name = ""
    description: Text | None = None
    is_active: bool = True


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


@blueprint.get("/admin/programs")
@describe(
    "List programs",
    answers={200: ProgramPage},
    parameters=(IS_ACTIVE, *PAGE),
)
@require_admin
def list_programs() -> Response:
    """A page of the tenant's programs, oldest first."""
    page, size = page_window()
    with reading() as connection:
        found, total = programs.page(
            connection, tenant().id, query_bool("is_active"), (size, (page - 1) * size)
        )
    items = [_as_json(program) for program in found]
    return answer(ProgramPage(items=items, total=total, page=page, page_size=size))


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
        program = programs.create(connection, tenant().id, new.model_dump())
        given = new.model_dump(exclude_unset=True)
        audit.record(connection, "program.created", str(program.id), **audit.detail_of(given))
    return answer(_as_json(program), 201)


@blueprint.get("/admin/programs/<program_id>")
@describe("Get a program", answers={200: ProgramItem}, problems=("program_not_found",))
@require_admin
def get_program(program_id: str) -> Response:
    """One program."""
    number = uuid_in_path("program", program_id)
    try:
        with reading() as connection:
            return answer(_as_json(programs.by_id(connection, tenant().id, number)))
    except NotFound:
        raise not_found("program", program_id) from None


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
    """Change what is given of a program."""
    values = body(ProgramChange).model_dump(exclude_unset=True)
    some_fields(values)
    return answer(_as_json(_change(program_id, values)))


@blueprint.delete("/admin/programs/<program_id>")
@describe("Deactivate a program", answers={200: MessageAnswer}, problems=("program_not_found",))
@require_admin
def deactivate_program(program_id: str) -> Response:
    """Enrol nobody any more; who is enrolled stays so."""
    _change(program_id, {"is_active": False})
    return answer(MessageAnswer(message="Program deactivated"))


def _change(program_id: str, values: dict[str, Any]) -> programs.Program:
    number = uuid_in_path("program", program_id)
    try:
        with transaction() as connection:
            program = programs.change(connection, tenant().id, number, values)
            action = audit.changed("program", values)
            audit.record(connection, action, str(number), **audit.detail_of(values))
            return program
    except NotFound:
        raise not_found("program", program_id) from None


def _as_json(program: programs.Program) -> ProgramItem:
    return {
        "id": str(program.id),
        "name": program.name,
        "description": program.description,
        "is_active": program.is_active,
        "created_at": clock.isoformat(program.created_at),
        "updated_at": clock.isoformat(program.updated_at),
    }
