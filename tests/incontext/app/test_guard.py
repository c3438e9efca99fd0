"""Who is let in."""

import pytest
from starlette.testclient import TestClient

from tests.incontext.app.site import Site

POST = {"url": "/api/sessions", "json": {"empty": True}}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def open_site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("open"), token="secret")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "[::1]:9", "LOCALHOST:80"])
def test_names_of_loopback_are_served(site, host):
    assert site.client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", ""])
def test_a_name_that_was_pointed_here_is_refused(site, host):
    answer = site.client.get("/", headers={"Host": host})
    assert answer.status_code == 403
    assert "this machine only" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_changes_that_other_sites_ask_for_are_refused(site, headers):
    assert site.client.post(**POST, headers=headers).status_code == 403


def test_the_page_itself_may_change_things(site):
    headers = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}
    assert site.client.post(**POST, headers=headers).status_code == 200


def test_the_page_may_load_nothing_from_elsewhere(site):
    answer = site.client.get("/")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "http://" not in answer.text
    assert "https://" not in answer.text


def test_other_machines_need_the_token_once(open_site):
    client = TestClient(open_site.client.app, base_url="http://lab.example:7860")
    assert client.get("/").status_code == 403
    assert client.get("/?token=wrong").status_code == 403
    assert client.post(**POST).status_code == 403
    welcome = client.get("/?token=secret")
    assert welcome.status_code == 200
    assert {"HttpOnly", "SameSite=Strict"} <= set(welcome.headers["Set-Cookie"].split("; "))
    assert client.post(**POST).status_code == 200, "the cookie is enough"
    assert client.post(**POST, headers={"Origin": "http://evil.example"}).status_code == 403
