"""The login before the UI: what the nginx file lets through, on a real nginx where the machine has one."""

import base64
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from composed import DEPLOY, compose
from stack import free_port, wait_for

TEXT = (DEPLOY / "nginx.conf").read_text()
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


class Seen(BaseHTTPRequestHandler):
    """In place of the webserver: says which headers reached it."""

    def do_GET(self):
        body = str({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        return


def test_every_page_asks_for_a_password_and_goes_to_the_webserver_alone():
    servers = TEXT.split("server {")[1:]
    assert len(servers) == 2
    assert "auth_basic_user_file" in servers[0]
    assert servers[0].index("auth_basic ") < servers[0].index("location /"), "for all that is below"
    assert "auth_basic off" not in TEXT
    assert re.findall(r"proxy_pass (\S+);", TEXT) == ["http://webserver:3000"]
    assert "listen 127.0.0.1:8081;" in servers[1]
    service = compose()["services"]["proxy"]
    assert service["ports"] == ["443:8443"]
    assert {volume.split(":")[1] for volume in service["volumes"]} == {
        "/etc/nginx/nginx.conf",
        "/etc/nginx/tamis",
    }


@pytest.fixture
def proxy(tmp_path):
    """nginx with the shipped file; ports, folder and the name of the webserver are replaced."""
    if NGINX is None:
        pytest.skip("nginx is not installed; on Debian or Ubuntu: apt-get install nginx-light")
    webserver = HTTPServer(("127.0.0.1", 0), Seen)
    threading.Thread(target=webserver.serve_forever, daemon=True).start()
    port = free_port()
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run([*made, *files], check=True, capture_output=True)
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", "correct"], check=True, capture_output=True, text=True
    ).stdout
    (tmp_path / "passwords").write_text(f"me:{hashed}")
    text = TEXT.replace("/etc/nginx/tamis", str(tmp_path)).replace("listen 8443", f"listen 127.0.0.1:{port}")
    text = text.replace("127.0.0.1:8081", f"127.0.0.1:{free_port()}")
    text = text.replace("webserver:3000", f"127.0.0.1:{webserver.server_port}")
    user = "user root;\n" if os.getuid() == 0 else ""
    folders = "".join(
        f"  {kind}_temp_path {tmp_path / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"{user}pid {tmp_path / 'pid'};\nerror_log stderr;\n" + text.replace(
        "http {\n", "http {\n" + folders
    )
    (tmp_path / "nginx.conf").write_text(text)
    arguments = [NGINX, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path), "-e", "stderr"]
    checked = subprocess.run([*arguments, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen([*arguments, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(port), 20, lambda: "nginx does not listen", pause=0.1)
        yield f"https://127.0.0.1:{port}/graphql"
    finally:
        process.terminate()
        process.wait(20)
        webserver.shutdown()
        webserver.server_close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(url: str, password: str | None, **headers: str) -> tuple[int, str]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if password is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(f'me:{password}'.encode()).decode()}"
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_who_has_the_password_comes_in_and_the_password_goes_no_further(proxy):
    assert ask(proxy, None)[0] == 401
    assert ask(proxy, "wrong")[0] == 401
    status, seen = ask(proxy, "correct")
    assert status == 200
    assert "authorization" not in seen
    upgraded = ask(proxy, "correct", Upgrade="websocket", Connection="Upgrade")[1]
    assert "'upgrade': 'websocket'" in upgraded
    assert "'connection': 'upgrade'" in upgraded
