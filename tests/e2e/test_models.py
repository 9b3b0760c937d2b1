"""Models: enabling, the lists of both mounts, finding by any name, changing, removing."""

import time
import urllib.parse
import uuid

import pytest

from harness import check
from harness.gateway import unused_id

KEY = "sk-0123456789abcdefghijklmn"


@pytest.fixture
def provider(tenant):
    return tenant.provider(name="my openai", apikey=KEY)


def enable(tenant, provider, body, status=201):
    return check.ok(tenant.admin.post(f"/providers/{provider['uuid']}/models", body), status)


class TestEnable:
    def test_with_everything(self, tenant, provider):
        metadata = {"cost": 0.005, "model_family": "gpt", "functions": ["text_chat"], "context_window": 128000, "region": "eu", "x_own": {"a": [1, None]}}
        made = enable(tenant, provider, {"id": "gpt-4o", "alias": "azure/gpt-4o", "metadata": metadata})
        assert uuid.UUID(made["uuid"])
        assert abs(made["created"] - time.time()) < 120
        assert made == {
            "object": "model", "uuid": made["uuid"], "id": "gpt-4o", "alias": "azure/gpt-4o", "created": made["created"],
            "owned_by": "openai:my openai", "metadata": metadata,
        }  # fmt: skip

    def test_with_the_least(self, tenant, provider):
        made = enable(tenant, provider, {"id": "gpt-4o"})
        assert made["id"] == "gpt-4o" and "alias" not in made
        assert made.get("metadata", {}) == {}
        assert None not in made.values()

    @pytest.mark.fault("P6")
    def test_an_exact_repeat_is_the_same_object(self, tenant, provider):
        for body in ({"id": "gpt-4o", "alias": "chat"}, {"id": "gpt-4o"}):
            made = enable(tenant, provider, body)
            assert enable(tenant, provider, body, 200) == made
        assert len(tenant.models()) == 2

    def test_one_id_under_several_aliases(self, tenant, provider):
        uuids = {enable(tenant, provider, {"id": "gpt-4o", "alias": alias})["uuid"] for alias in ("a", "b", "A")}
        assert len(uuids) == 3

    def test_an_unknown_provider_takes_none(self, tenant):
        for id in (unused_id(), "x"):
            check.error(tenant.admin.post(f"/providers/{id}/models", {"id": "gpt-4o"}), 404, "provider_not_found")

    GOOD_ALIASES = ["a", "x" * 200, "ü" * 200, "azure/gpt-4o", "a//b", "../x", "a b", "a:b@c", "%2e%2e", "模型", "?q=1#f", "gpt-4o'\"<>"]

    @pytest.mark.parametrize("alias", GOOD_ALIASES, ids=lambda a: a[:12])
    def test_aliases_within_the_rules(self, tenant, provider, alias):
        assert enable(tenant, provider, {"id": "m", "alias": alias})["alias"] == alias

    BAD_ALIASES = ["", " ", " a", "a ", "x" * 201, "a\tb", "a\r\nX: 1", "a\x00", "a\x7f", "a\u0085", "a\u200bb", "a\u202eb", "\ufeffa", "a\u2028b", "a\u00adb", "\u00a0a", 1, True, [], {}]

    def test_aliases_against_the_rules(self, tenant, provider):
        for alias in self.BAD_ALIASES:
            check.error(tenant.admin.post(f"/providers/{provider['uuid']}/models", {"id": "m", "alias": alias}), 400, "invalid_request", param="alias")
        assert tenant.models() == []

    GOOD_IDS = ["m", "x" * 2048, "anthropic.claude-3-7-sonnet-20250219-v1:0", "meta/llama-3.3-70b", "arn:aws:bedrock:us-east-1::foundation-model/x", "a b"]

    @pytest.mark.parametrize("id", GOOD_IDS, ids=lambda a: a[:12])
    def test_ids_within_the_rules(self, tenant, provider, id):
        assert enable(tenant, provider, {"id": id})["id"] == id

    BAD_IDS = ["", " ", " a", "a ", "x" * 2049, "ü" * 1025, "a\nb", "a\x00", "a\u200bb", "a\u2029b", None, 1, [], {}]

    def test_ids_against_the_rules(self, tenant, provider):
        for id in self.BAD_IDS:
            check.error(tenant.admin.post(f"/providers/{provider['uuid']}/models", {"id": id}), 400, "invalid_request", param="id")
        check.error(tenant.admin.post(f"/providers/{provider['uuid']}/models", {"alias": "a"}), 400, "invalid_request", param="id")
        assert tenant.models() == []

    def test_metadata_against_the_rules(self, tenant, provider):
        for metadata in ("x", 1, [], True, {"x": "y" * 8192}):
            answer = tenant.admin.post(f"/providers/{provider['uuid']}/models", {"id": "m", "metadata": metadata})
            check.error(answer, 400, "invalid_request", param="metadata")
        assert tenant.models() == []
        enable(tenant, provider, {"id": "m", "metadata": {"x": "y" * 8000}})


class TestLists:
    @pytest.fixture
    def models(self, tenant, provider):
        second = tenant.provider(name="my other", apikey=KEY)
        return {
            "plain": enable(tenant, provider, {"id": "gpt-4o"}),
            "aliased": enable(tenant, provider, {"id": "gpt-4.1", "alias": "best"}),
            "shared 1": enable(tenant, provider, {"id": "gpt-4o-mini", "alias": "both"}),
            "shared 2": enable(tenant, second, {"id": "gpt-4o-mini", "alias": "both"}),
            "same id": enable(tenant, second, {"id": "gpt-4o"}),
        }

    def test_callable_names_once_each(self, tenant, models):
        listed = check.ok(tenant.admin.get("/models"))
        assert listed["object"] == "list"
        by_id = {m["id"]: m for m in listed["data"]}
        assert len(by_id) == len(listed["data"]) and set(by_id) == {"gpt-4o", "best", "both"}
        for model in listed["data"]:
            assert model["object"] == "model" and isinstance(model["created"], int) and model["owned_by"] and model["uuid"]
            assert model.get("metadata", {}) is not None
        assert by_id["best"]["uuid"] == models["aliased"]["uuid"]
        shared = {m["uuid"] for m in by_id["both"]["models"]}
        assert shared == {models["shared 1"]["uuid"], models["shared 2"]["uuid"]}
        assert len(by_id["gpt-4o"]["models"]) == 2
        assert len(by_id["best"].get("models", [0])) == 1

    def test_one_entry_per_model_for_ibms_sdks(self, tenant, models):
        listed = check.ok(tenant.ibm.get("/models"))
        assert listed["object"] == "list"
        assert {m["uuid"]: m for m in listed["data"]} == {m["uuid"]: m for m in models.values()}

    def test_by_provider(self, tenant, provider, models):
        for api in (tenant.admin, tenant.ibm):
            listed = check.ok(api.get(f"/providers/{provider['uuid']}/models"))
            assert listed["object"] == "list"
            uuids = [m["uuid"] for m in listed["data"]]
            assert sorted(uuids) == sorted(models[name]["uuid"] for name in ("plain", "aliased", "shared 1"))
        check.error(tenant.admin.get(f"/providers/{unused_id()}/models"), 404, "provider_not_found")

    def test_an_inference_key_sees_the_models(self, tenant, models):
        caller = tenant.inference()
        assert {m["id"] for m in check.ok(caller.get("/models"))["data"]} == {"gpt-4o", "best", "both"}
        assert check.ok(caller.get("/models/best"))["uuid"] == models["aliased"]["uuid"]


class TestFind:
    @pytest.mark.parametrize("alias", ["chat", "azure/gpt-4o", "a b/ü", "50%", "x?y#z", "a/b/c"])
    def test_by_uuid_alias_and_id(self, tenant, provider, alias):
        made = enable(tenant, provider, {"id": "openai/gpt-4o", "alias": alias})
        quoted = urllib.parse.quote(alias, safe="")
        names = [made["uuid"], quoted, "openai/gpt-4o", "openai%2Fgpt-4o", "openai%2fgpt-4o"]
        if urllib.parse.quote(alias, safe="/") != quoted:
            names.append(urllib.parse.quote(alias, safe="/"))
        for api in (tenant.admin, tenant.ibm):
            for name in names:
                found = check.ok(api.get(f"/models/{name}"))
                assert found["uuid"] == made["uuid"], name

    def test_the_uuid_wins_over_an_alias(self, tenant, provider):
        first = enable(tenant, provider, {"id": "a"})
        second = enable(tenant, provider, {"id": "b", "alias": first["uuid"]})
        assert check.ok(tenant.admin.get(f"/models/{first['uuid']}"))["uuid"] == first["uuid"]
        assert check.ok(tenant.admin.get(f"/models/{second['uuid']}"))["uuid"] == second["uuid"]

    def test_what_is_not_there(self, tenant, provider):
        made = enable(tenant, provider, {"id": "gpt-4o", "alias": "chat"})
        for name in (unused_id(), "Chat", "chat2", "cha", "chat%20", "chat/", "gpt-4o/x", f"{provider['uuid']}/gpt-4o", "%ff", "%", "%00", "x" * 3000):
            if name == "chat/":
                continue  # a trailing slash is served
            check.error(tenant.admin.get(f"/models/{name}"), 404, "model_not_found")
        assert made["uuid"] in [m["uuid"] for m in tenant.models()]

    def test_unicode_is_compared_byte_by_byte(self, tenant, provider):
        names = ["\u00e9", "e\u0301", "\uff21", "A", "\ufb01", "fi", "\u017f", "s", "\u212a", "K"]
        made = {name: enable(tenant, provider, {"id": f"m{n}", "alias": name}) for n, name in enumerate(names)}
        for name, model in made.items():
            found = check.ok(tenant.admin.get(f"/models/{urllib.parse.quote(name, safe='')}"))
            assert found["uuid"] == model["uuid"], name


class TestChange:
    def test_put_replaces(self, tenant, provider):
        made = enable(tenant, provider, {"id": "gpt-4o", "alias": "chat", "metadata": {"cost": 1}})
        path = f"/providers/{provider['uuid']}/models/{made['uuid']}"
        changed = check.ok(tenant.admin.put(path, {"id": "gpt-4.1", "alias": "better"}))
        assert changed["uuid"] == made["uuid"] and changed["created"] == made["created"]
        assert (changed["id"], changed["alias"]) == ("gpt-4.1", "better")
        assert check.ok(tenant.ibm.get(f"/models/{made['uuid']}")) == changed
        check.error(tenant.admin.get("/models/chat"), 404)

    def test_patch_changes_what_it_names(self, tenant, provider):
        made = enable(tenant, provider, {"id": "gpt-4o", "alias": "chat", "metadata": {"cost": 1}})
        path = f"/providers/{provider['uuid']}/models/{made['uuid']}"
        assert check.ok(tenant.admin.patch(path, {"alias": "better"})) == {**made, "alias": "better"}
        assert check.ok(tenant.admin.patch(path, {"id": "gpt-4.1"})) == {**made, "alias": "better", "id": "gpt-4.1"}
        changed = check.ok(tenant.admin.patch(path, {"metadata": {"cost": 2}}))
        assert changed["metadata"] == {"cost": 2} and changed["alias"] == "better"

    def test_a_change_is_used_by_the_next_call(self, served, account):
        (model,) = served.models()
        (provider,) = served.providers()
        check.ok(served.admin.chat("chat"))
        check.ok(served.admin.patch(f"/providers/{provider['uuid']}/models/{model['uuid']}", {"id": "gpt-5", "alias": "new"}))

        def uses_the_new():
            check.ok(served.admin.chat("new"))
            assert '"gpt-5"' in account.last()["body"]
            check.error(served.admin.chat("chat"), 404, "model_not_found")

        check.within(served.gateway.entry.bound, uses_the_new)

    def test_what_cannot_be_changed(self, tenant, provider):
        second = tenant.provider(apikey=KEY)
        made = enable(tenant, provider, {"id": "gpt-4o", "alias": "chat"})
        twin = enable(tenant, provider, {"id": "gpt-4o", "alias": "twin"})
        path = f"/providers/{provider['uuid']}/models/{made['uuid']}"
        for method in (tenant.admin.put, tenant.admin.patch):
            check.error(method(path, {"id": "gpt-4o", "alias": "twin"}), 409, "conflict")
            check.error(method(path, {"id": "", "alias": "chat"}), 400, param="id")
            check.error(method(path, {"id": "gpt-4o", "alias": 1}), 400, param="alias")
            check.error(method(path, {"id": "gpt-4o", "uuid": unused_id()}), 400, "unknown_field")
            check.error(method(f"/providers/{second['uuid']}/models/{made['uuid']}", {"id": "gpt-4o"}), 404)
            check.error(method(f"/providers/{unused_id()}/models/{made['uuid']}", {"id": "gpt-4o"}), 404)
            check.error(method(f"/providers/{provider['uuid']}/models/{unused_id()}", {"id": "gpt-4o"}), 404)
            check.error(method(f"/providers/{provider['uuid']}/models/chat", {"id": "gpt-4o"}), 404)
        assert {m["alias"] for m in tenant.models()} == {"chat", "twin"}
        assert twin["uuid"] != made["uuid"]


class TestRemove:
    @pytest.mark.parametrize("mount", ["/v1", "/ml/gateway/v1"])
    def test_by_uuid_only(self, tenant, provider, mount):
        made = enable(tenant, provider, {"id": "gpt-4o", "alias": "chat"})
        api = tenant.admin.on(mount)
        for name in ("chat", "gpt-4o", unused_id()):
            check.error(api.delete(f"/models/{name}"), 404, "model_not_found")
        check.ok(api.delete(f"/models/{made['uuid']}"), 204)
        check.error(api.delete(f"/models/{made['uuid']}"), 404, "model_not_found")
        assert tenant.models() == []

    def test_below_its_provider(self, tenant, provider):
        second = tenant.provider(apikey=KEY)
        made = enable(tenant, provider, {"id": "gpt-4o"})
        check.error(tenant.admin.delete(f"/providers/{second['uuid']}/models/{made['uuid']}"), 404)
        check.ok(tenant.admin.delete(f"/providers/{provider['uuid']}/models/{made['uuid']}"), 204)
        assert tenant.models() == []
