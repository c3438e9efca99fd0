"""A bucket in memory, with enough of Google Cloud Storage's JSON API for TensorStore, gcsfs and Google's client.

python -m tests.gcs      prints its address and serves until its standard input ends
"""

import base64
import contextlib
import email.parser
import email.policy
import hashlib
import itertools
import json
import re
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler

from tests import loopback

OBJECT = re.compile(r"/(?:download/|upload/)?(?:storage/v1/)?b/([^/]+)/o(?:/(.*))?$")
COPY = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(rewriteTo|copyTo|moveTo)(?:/b/([^/]+))?/o/(.+)$")


class Store:
    """Maps (bucket, name) to (content, generation)."""

    def __init__(self):
        self.objects = {}
        self.generations = itertools.count(1)
        self.digests = {}  # {generation: MD5}; hashing large objects anew would slow every listing
        self.uploads = {}
        self.lock = threading.RLock()
        self.requests = []  # (method, path) of all requests
        self.latency = 0.0  # seconds that every request takes
        self.instead = {}  # {name of an object: function to call once instead of storing it}

    def describe(self, key):
        content, generation = self.objects[key]
        bucket, name = key
        if generation not in self.digests:
            self.digests[generation] = base64.b64encode(hashlib.md5(content).digest()).decode()
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "id": f"{bucket}/{name}/{generation}",
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "md5Hash": self.digests[generation],
            "timeCreated": "2026-01-01T00:00:00.000Z",
            "updated": "2026-01-01T00:00:00.000Z",
        }

    def put(self, key, content):
        if key[1] in self.instead:
            self.instead.pop(key[1])()
            raise ConnectionError("the client is gone")
        self.objects[key] = (bytes(content), next(self.generations))
        return self.describe(key)

    def list(self, bucket, query):
        """Lists names with a prefix; names with a delimiter behind it are grouped into folders."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, folders = [], set()
        for key in sorted(k for k in self.objects if k[0] == bucket and k[1].startswith(prefix)):
            name = key[1]
            if not query.get("startOffset", "") <= name or (query.get("endOffset") and name >= query["endOffset"]):
                continue
            inside, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                folders.add(prefix + inside + delimiter)
            else:
                items.append(self.describe(key))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: Store

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", kind="application/json", **headers):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        if status in (204, 304):  # these have no body: a client would read it as the next response
            content = b""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def fault(self, status, message):
        self.answer(status, {"error": {"code": status, "message": message, "errors": [{"message": message}]}})

    def body(self):
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_request(self):
        split = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(split.query, keep_blank_values=True))
        body = self.body()
        if split.path == "/control":  # of benchmarks, which run the server in another process
            self.store.latency = float(query.get("latency", self.store.latency))
            return self.answer(200, {"requests": len(self.store.requests)})
        time.sleep(self.store.latency)
        with self.store.lock, contextlib.suppress(ConnectionError):  # the client was killed
            self.store.requests.append((self.command, self.path))
            self.route(split.path, query, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_request

    def route(self, path, query, body):
        if path.startswith("/batch"):
            return self.batch(body)
        if match := COPY.match(path):
            a, source, verb, b, target = (urllib.parse.unquote(part or match[1]) for part in match.groups())
            if (a, source) not in self.store.objects:
                return self.fault(404, f"No such object: {a}/{source}")
            resource = self.store.put((b, target), self.store.objects[a, source][0])
            if verb == "moveTo":
                del self.store.objects[a, source]
            size = resource["size"]
            done = {"done": True, "resource": resource, "objectSize": size, "totalBytesRewritten": size}
            return self.answer(200, done if verb == "rewriteTo" else resource)
        match = OBJECT.match(path)
        if not match:
            if re.match(r"/(storage/v1/)?b/[^/]+$", path):
                return self.answer(200, {"kind": "storage#bucket", "name": path.rpartition("/")[2], "location": "US"})
            return self.fault(404, f"nothing at {path}")
        bucket, name = match[1], urllib.parse.unquote(match[2] or "")
        if path.startswith(("/upload/", "/resumable/")):
            return self.upload(bucket, query, body)
        if not name:
            return self.answer(200, self.store.list(bucket, query))
        return self.object((bucket, name), query, body)

    def refused(self, key, query):
        """Returns whether the request demands a different generation than the stored one; answers it if so."""
        there = self.store.objects.get(key, (b"", 0))[1]
        for condition, holds in (("ifGenerationMatch", there.__eq__), ("ifGenerationNotMatch", there.__ne__)):
            if query.get(condition) and not holds(int(query[condition])):
                self.fault(412 if condition == "ifGenerationMatch" else 304, f"{condition} does not hold")
                return True
        return False

    def object(self, key, query, body):
        if self.command != "DELETE" and key not in self.store.objects:
            return self.fault(404, f"No such object: {'/'.join(key)}")
        if self.refused(key, query):
            return None
        if self.command == "DELETE":
            if self.store.objects.pop(key, None) is None:
                return self.fault(404, f"No such object: {'/'.join(key)}")
            return self.answer(204)
        if query.get("alt") != "media":
            return self.answer(200, self.store.describe(key))
        content, generation = self.store.objects[key]
        headers = {
            "x_goog_generation": str(generation),
            "ETag": str(generation),
            "x_goog_stored_content_encoding": "identity",
        }
        wanted = re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range", ""))
        if not wanted:
            return self.answer(200, content, "application/octet-stream", **headers)
        size = len(content)
        first = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
        last = min(size - 1, int(wanted[2])) if wanted[1] and wanted[2] else size - 1
        if first > last:
            return self.answer(416, b"", "text/plain", Content_Range=f"bytes */{size}")
        headers["Content_Range"] = f"bytes {first}-{last}/{size}"
        return self.answer(206, content[first : last + 1], "application/octet-stream", **headers)

    def upload(self, bucket, query, body):
        if "upload_id" in query:
            return self.resume(query["upload_id"], body)
        name = query.get("name", "")
        if query.get("uploadType") == "multipart":
            text = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body
            about, content = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(text).iter_parts()
            name = name or json.loads(about.get_payload(decode=True))["name"]
            body = content.get_payload(decode=True)
        if query.get("uploadType") == "resumable":
            name = name or json.loads(body)["name"]
            if self.refused((bucket, name), query):
                return None
            number = str(len(self.store.uploads))
            self.store.uploads[number] = [(bucket, name), bytearray()]
            host = self.headers["Host"]
            return self.answer(200, Location=f"http://{host}/upload/storage/v1/b/{bucket}/o?upload_id={number}")
        if self.refused((bucket, name), query):
            return None
        return self.answer(200, self.store.put((bucket, name), body))

    def resume(self, number, body):
        key, content = self.store.uploads[number]
        content += body
        total = self.headers.get("Content-Range", "/").rpartition("/")[2]
        if total in ("*",):
            return self.answer(308, Range=f"bytes=0-{len(content) - 1}", X_HTTP_Status_Code_Override="308")
        return self.answer(200, self.store.put(key, content))

    def batch(self, body):
        """Handles a batch of deletions, which is all that clients use it for."""
        boundary = "answer"
        parts = []
        for number, verb in re.findall(rb"Content-ID:\s*<?([^>\r\n]*)>?.*?((?:DELETE) \S+) HTTP", body, re.S | re.I):
            path = urllib.parse.urlsplit(verb.decode().split()[1]).path
            bucket, name = OBJECT.match(path).groups()
            gone = self.store.objects.pop((bucket, urllib.parse.unquote(name)), None)
            status = "404 Not Found" if gone is None else "204 No Content"
            head = f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <response-{number.decode()}>"
            parts.append(f"{head}\r\n\r\nHTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n\r\n")
        text = "".join(parts) + f"--{boundary}--\r\n"
        return self.answer(200, text.encode(), f"multipart/mixed; boundary={boundary}")


@contextlib.contextmanager
def serve(store=None):
    """Yields the address and the store of a server in a thread of this process."""
    store = store or Store()
    with loopback.serving(Handler, store=store) as address:
        yield address, store


def variables(address):
    """Returns environment variables that direct all clients to the server, without credentials."""
    return {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        "GCE_METADATA_ROOT": address.removeprefix("http://"),  # there is no metadata server for credentials
        "GCE_METADATA_HOST": address.removeprefix("http://"),
        "NO_GCE_CHECK": "true",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it would query the kind of bucket by gRPC
        "GOOGLE_CLOUD_PROJECT": "test",
    }


@contextlib.contextmanager
def bucket():
    """Yields the store of a bucket that all clients in this process and its children connect to."""
    import fsspec
    import pytest
    from etils.epath import backend

    forget = backend._FileSystemSpecBackend._get_filesystem.cache_clear  # clients made for another address
    with serve() as (address, store), pytest.MonkeyPatch.context() as patch:
        for name, value in variables(address).items():
            patch.setenv(name, value)
        forget()
        fsspec.get_filesystem_class("gcs").clear_instance_cache()
        yield store
        forget()


if __name__ == "__main__":
    with serve() as (where, _):
        print(where, flush=True)
        sys.stdin.read()
