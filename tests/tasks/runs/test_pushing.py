"""A run and a model on a hub: a small server that takes commits as the hub's API does."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import polars as pl
import pytest
from datasets import load_dataset

import polymine
from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.trained import TrainedModel
from polymine.tasks.runs.pushing import absolute_paths, push
from tests.small import MINILM, write_animals


class SmallHub(BaseHTTPRequestHandler):
    """Repositories in memory; a token that is not `hf_writer` is refused."""

    repositories: dict[str, dict[str, bytes]]

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer hf_writer":
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.repositories[name] = {"seen": str(asked["visibility"]).encode()}
            kind = "datasets/" if asked["type"] == "dataset" else ""
            self.answer({"url": f"http://{self.headers['Host']}/{kind}{name}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        else:
            self.commit([json.loads(line)["value"] for line in body.splitlines()])

    def commit(self, lines):
        name = self.path.removeprefix("/api/").split("/", 1)[1].split("/commit/")[0]
        for line in lines:
            if "content" in line:
                self.repositories[name][line["path"]] = base64.b64decode(line["content"])
        url = f"http://{self.headers['Host']}/datasets/{name}/commit/{'1' * 40}"
        self.answer({"commitUrl": url, "commitOid": "1" * 40, "pullRequestUrl": None})

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    SmallHub.repositories = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), SmallHub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        yield SmallHub.repositories
        server.shutdown()


def test_a_run_is_a_data_set_that_names_no_path_of_this_machine(hub, tmp_path, monkeypatch):
    tables = write_animals(tmp_path)
    run = polymine.mine(**tables, negatives=2, teachers=[MINILM], output=tmp_path / "run")
    assert run.push_to_hub("acme/animals").endswith("/datasets/acme/animals")
    pushed = hub["acme/animals"]
    assert pushed.pop("seen") == b"private"
    assert set(pushed) == {shard.name for shard in run.manifest.shards} | {"manifest.json"}
    for name, content in pushed.items():
        assert str(tmp_path).encode() not in content, name
        assert str(Path.home()).encode() not in content, name
    assert b'load_dataset("acme/animals", "triplets"' in pushed["README.md"]

    there = tmp_path / "there"
    for name, content in pushed.items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(content)
    assert polymine.open(there).triplets.equals(run.triplets)
    loaded = load_dataset(str(there), "triplets", split="train", cache_dir=str(tmp_path / "hf"))
    assert pl.from_arrow(loaded.data.table)["anchor"].to_list() == run.triplets["anchor"].to_list()

    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(StoreError, match=r"acme/animals: the hub did not take it .*HF_TOKEN"):
        run.push_to_hub("acme/animals")
    with pytest.raises(StoreError, match="did not take it"):
        run.push_to_hub("no name of a repository")
    (run.folder / "triplets" / "part-00000.parquet").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="not as the run wrote it"):
        run.push_to_hub("acme/animals")


def test_adapters_are_a_model_wherever_their_folder_lies(hub, tmp_path):
    """Its own files name the base by its path, without a manifest beside them."""
    base = str(tmp_path / "models" / "base")
    adapter = tmp_path / "mine" / "adapters" / "mono"
    adapter.mkdir(parents=True)
    about = TrainedModel(base=base, routes={"*": "mono"}, fingerprint="f")
    (tmp_path / "mine" / "polymine.json").write_text(about.model_dump_json())
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (adapter / "adapter_model.safetensors").write_bytes(base.encode())  # no text: as it is
    (tmp_path / "mine" / "README.md").write_text(f"Trained on {base}; /usr is a word of the data.")
    address = push(tmp_path / "mine", "acme/mono", private=False)
    assert address.endswith("/acme/mono")
    assert "datasets" not in address
    pushed = hub["acme/mono"]
    assert pushed.pop("seen") == b"public"
    assert pushed.pop("adapters/mono/adapter_model.safetensors") == base.encode()
    assert json.loads(pushed.pop("polymine.json"))["base"] == "base"
    assert json.loads(pushed.pop("adapters/mono/adapter_config.json")) == {
        "base_model_name_or_path": "base"
    }
    assert pushed == {"README.md": b"Trained on base; /usr is a word of the data."}


def test_a_hub_that_cannot_be_reached_is_named(hub, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    about = TrainedModel(base="b", routes={"*": "base"}, fingerprint="f")
    (tmp_path / "mine" / "polymine.json").write_text(about.model_dump_json())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"acme/mono: the hub did not take it .*HF_ENDPOINT"):
        push(tmp_path / "mine", "acme/mono")


def test_paths_are_found_wherever_they_stand():
    info = {"a": ["/data/x.parquet", {"b": "C:\\data\\y.tsv"}], "c": "no/path", "d": "/", "e": 1}
    assert sorted(absolute_paths(info)) == ["/data/x.parquet", "C:\\data\\y.tsv"]
