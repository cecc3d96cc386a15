"""The description of an API as a page that a machine without the internet shows in full."""

import re
from typing import Annotated

import httpx2
import pytest
from fastapi import Body, FastAPI, Path, Query
from pydantic import BaseModel

from services.process.api_page import add_api_page, api_page

pytestmark = pytest.mark.anyio
ATTACK = "<script>alert(1)</script>"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Order(BaseModel):
    name: str


def shop() -> FastAPI:
    app = FastAPI(title="Shop", version="7", summary=f"Sells {ATTACK}.", docs_url=None, redoc_url=None)
    add_api_page(app)

    @app.get("/orders/{number}")
    async def order(
        number: Annotated[int, Path(description=f"Of the {ATTACK} order")],
        limit: Annotated[int, Query(ge=1)] = 100,
        names: Annotated[list[str] | None, Query()] = None,
    ) -> Order:
        """One order, with "all" of it."""
        return Order(name=f"{number} {limit} {names}")

    @app.post("/orders", status_code=201)
    async def place(body: Annotated[Order | list[Order], Body()]) -> None:
        """Place some."""

    return app


def test_every_operation_is_there_with_what_it_takes_and_answers() -> None:
    text = re.sub(r"<[^>]+>", "", api_page(shop().openapi())).split("\n")
    lines = [line for line in text if line]
    assert "Shop 7" in lines
    assert "GET /orders/{number}" in lines
    assert "One order, with &quot;all&quot; of it." in lines
    assert any(line.startswith("number in the path, integer, required, Of the &lt;script&gt;") for line in lines)
    assert "limit in the query, integer, default 100" in lines
    assert "names in the query, array of string" in lines
    assert "POST /orders" in lines
    assert "application/json in the body, Order or array of Order, required" in lines
    assert "201: Successful Response" in lines


async def test_it_is_served_and_asks_nothing_of_anybody_else() -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(shop()), base_url="http://shop") as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert not re.findall(r"<(script|link|img|style|iframe)|https?:", page.text)
        [address] = re.findall(r'href="([^"]+)"', page.text)
        assert "/docs" not in (await client.get(f"/{address}")).json()["paths"]
        assert (await client.get("/redoc")).status_code == 404
