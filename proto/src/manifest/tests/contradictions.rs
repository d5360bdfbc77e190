//! Well-formed manifests that contradict themselves: where, why, and what to write instead.
//!
//! What follows `service(` begins on line 5, what follows `release(` on line 8.

use super::{assert_refused, release, service};

#[test]
fn refuses_checks_that_contradict_themselves() {
    assert_refused(
        &service(
            "\
checks:
  - {name: health, tcp: {address: \"{address}:80\"}, every: 1s, timeout: 2s}
",
        ),
        &["6:72: check `health` may take 2s but runs every 1s: write at most 1s"],
    );
    assert_refused(
        &service(
            "\
checks:
  - name: health
    tcp: {address: \"{address}:80\"}
    every: 50ms
    timeout: 0s
    rise: 0
    fall: 101
",
        ),
        &[
            "8:12: check `health` would run every 50ms: write at least 100ms",
            "9:14: check `health` can never pass within 0s: write a span such as 1s",
            "10:11: check `health` has a rise of 0: write a number from 1 to 100",
            "11:11: check `health` has a fall of 101: write a number from 1 to 100",
        ],
    );
    assert_refused(
        &service(
            "\
checks:
  - {name: health, tcp: {address: \"{address}:80\"}}
  - {name: health, tcp: {address: \"{address}:81\"}}
",
        ),
        &["7:12: check `health` is there twice, as checks[0] too: give each check a name of \
             its own"],
    );
    assert_refused(
        &service("checks: [{name: \"is it up?\", tcp: {address: \"{address}:80\"}}]\n"),
        &["5:17: check `is it up?` cannot be named so: use 1 to 63 letters, digits, - _ and ."],
    );
    assert_refused(
        &service("checks: [{name: up, http: {url: \"http://{address}/\", status: 99}}]\n"),
        &["5:62: check `up` waits for status 99: write one from 100 to 599"],
    );
}

#[test]
fn refuses_addresses_that_lead_nowhere() {
    assert_refused(
        &service(
            "\
checks:
  - {name: c0, http: {url: \"ftp://h/\"}}
  - {name: c1, http: {url: \"http://\"}}
  - {name: c2, http: {url: \"http://h:0/\"}}
  - {name: c3, http: {url: \"http://a b/\"}}
  - {name: c4, http: {url: \"http://u:p@h/\"}}
  - {name: c5, http: {url: \"http://{host}/\"}}
  - {name: c6, http: {url: \"http://{address/\"}}
  - {name: c7, http: {url: \"http://::1/\"}}
",
        ),
        &[
            "6:28: `ftp://h/` is not a URL of http or https: write it like \
             http://{address}:8080/health",
            "7:28: `http://` names no host: write it like http://{address}:8080/health",
            "8:28: `http://h:0/` has a port that is not a number from 1 to 65535: write it like \
             http://{address}:8080/health",
            "9:28: `http://a b/` holds a space or a control character: write it like \
             http://{address}:8080/health",
            "10:28: `http://u:p@h/` holds a user or a password, which everybody could read \
             here: write it like http://{address}:8080/health",
            "11:28: `{host}` in `http://{host}/` is not a placeholder: placeholders are \
             {artifact}, {address}, {node}, {region}, {service}, {version}, {data}; \
             a brace meant as itself is written twice",
            "12:28: `{` in `http://{address/` is half a placeholder: write {name} for a \
             placeholder, and a brace meant as itself twice: {{ or }}",
            "13:28: `http://::1/` has a host with colons that is not in square brackets: write \
             it like http://{address}:8080/health",
        ],
    );
    assert_refused(
        &service(
            "\
checks:
  - {name: c0, tcp: {address: \"localhost\"}}
  - {name: c1, tcp: {address: \":80\"}}
  - {name: c2, tcp: {address: \"h:99999\"}}
  - {name: c3, tcp: {address: \"h:x\"}}
  - {name: c4, tcp: {address: \"::1:80\"}}
  - {name: c5, tcp: {address: \"a b:80\"}}
",
        ),
        &[
            "6:31: `localhost` names no port: write it like {address}:8080",
            "7:31: `:80` names no host: write it like {address}:8080",
            "8:31: `h:99999` has a port that is not a number from 1 to 65535: write it like \
             {address}:8080",
            "9:31: `h:x` has a port that is not a number from 1 to 65535: write it like \
             {address}:8080",
            "10:31: `::1:80` has a host with colons that is not in square brackets: write it \
             like {address}:8080",
            "11:31: `a b:80` is not a host and a port: write it like {address}:8080",
        ],
    );
    assert_refused(
        &service("traffic: {dns: {port: 80}, in_flight: /in-flight}\n"),
        &["5:39: `/in-flight` is not a URL of http or https: write it like \
             http://{address}:8080/health"],
    );
}

/// B2: what is declared is all that can be read, so nothing may be declared that leads elsewhere.
#[test]
fn refuses_log_files_that_lead_elsewhere() {
    assert_refused(
        &service(
            "\
logs:
  ../x: /var/log/x
  a: log/a
  b: \"{data}/../../key\"
  c: /var/log/
  d: \"{secret}/x\"
",
        ),
        &[
            "6:9: `../x` is not a name of a file to read: use letters a-z, digits and -, such \
             as access or gc-1",
            "7:6: `log/a` is neither absolute nor below {data}: write it like \
             /var/log/web/access.log or {data}/access.log",
            "8:6: `{data}/../../key` leads out through `..`: write it like \
             /var/log/web/access.log or {data}/access.log",
            "9:6: `/var/log/` names a directory: write it like /var/log/web/access.log or \
             {data}/access.log",
            "10:6: `{secret}` in `{secret}/x` is not a placeholder: placeholders are \
             {artifact}, {address}, {node}, {region}, {service}, {version}, {data}; a brace \
             meant as itself is written twice",
            "10:6: `{secret}/x` is neither absolute nor below {data}: write it like \
             /var/log/web/access.log or {data}/access.log",
        ],
    );
}

#[test]
fn refuses_programs_that_cannot_be_run() {
    assert_refused(
        &service("checks: [{name: up, command: {argv: []}}]\n"),
        &["5:37: there is no program to run: write [\"/path/to/program\"]"],
    );
    assert_refused(
        &service("checks: [{name: up, command: {argv: [check_http, -H]}}]\n"),
        &["5:38: program `check_http` is neither absolute nor the artifact: begin it with / \
             or {artifact}: nothing looks programs up in PATH"],
    );
    assert_refused(
        &service("checks: [{name: up, command: {argv: [./check_http]}}]\n"),
        &["5:38: program `./check_http` is neither absolute nor the artifact: begin it with / \
             or {artifact}: nothing looks programs up in PATH"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: file:///srv/web-1.0.0
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [bin/web, \"--port={port}\", \"a\\0b\"]
",
        &[
            "7:8: program `bin/web` is neither absolute nor the artifact: begin it with / or \
             {artifact}: nothing looks programs up in PATH",
            "7:17: `{port}` in `--port={port}` is not a placeholder: placeholders are \
             {artifact}, {address}, {node}, {region}, {service}, {version}, {data}; \
             a brace meant as itself is written twice",
            "7:34: a text for a program holds a zero byte: leave the zero byte out",
        ],
    );
    assert_refused(
        &release("env: {PORT: 8080, 2ND: x, A-B: \"{nod}\", E: \"}\"}\n"),
        &[
            "8:24: `2ND` is not a name of the environment: use letters, digits and _, not a \
             digit first",
            "8:32: `A-B` is not a name of the environment: use letters, digits and _, not a \
             digit first",
            "8:32: `{nod}` in `{nod}` is not a placeholder: placeholders are {artifact}, \
             {address}, {node}, {region}, {service}, {version}, {data}; a brace \
             meant as itself is written twice",
            "8:44: `}` in `}` is half a placeholder: write {name} for a placeholder, and a \
             brace meant as itself twice: {{ or }}",
        ],
    );
}

#[test]
fn refuses_traffic_that_dns_cannot_carry() {
    assert_refused(
        &service("traffic: {dns: {port: 0, ttl: 1500ms}}\n"),
        &[
            "5:23: port 0 cannot be reached: write a port from 1 to 65535",
            "5:31: ttl 1s500ms is not whole seconds: DNS counts in seconds: write it like 2s, \
             at least 1s",
        ],
    );
    assert_refused(
        &service("traffic: {dns: {port: 80, ttl: 0s}}\n"),
        &["5:32: ttl 0s is not whole seconds: DNS counts in seconds: write it like 2s, at \
             least 1s"],
    );
    assert_refused(
        &service("traffic: {dns: {port: 80, ttl: 2h}}\n"),
        &["5:32: ttl 2h is longer than 1h: every drain waits it out: write a few seconds, \
             such as 2s"],
    );
}

#[test]
fn refuses_services_that_can_never_serve() {
    assert_refused(
        "\
kind: Service
name: web
nodes: {labels: {}}
driver: {process: {}}
serving: {nodes: 0}
",
        &[
            "3:17: an empty selector selects no node: name at least one label, such as {role: \
             web}",
            "5:18: a region with no ready node would count as serving: write at least 1",
        ],
    );
    assert_refused(
        "\
kind: Service
name: web
nodes: {labels: {\"\": web}}
driver: {process: {}}
",
        &["3:17: label `` has no name: name the label, such as {role: web}"],
    );
}

#[test]
fn refuses_upgrades_that_can_never_end() {
    assert_refused(
        &service("upgrade: {order: [aws, gcp, aws]}\n"),
        &["5:29: region `aws` is in the order twice: name each region once"],
    );
    assert_refused(
        &service("upgrade: {deadline: {step: 0s}}\n"),
        &["5:28: no step can end within 0s: write a few minutes, such as 5m"],
    );
    assert_refused(
        &service("upgrade: {bake: {region: 5m}, deadline: {fleet: 1m}}\n"),
        &["5:49: the upgrade must end within 1m, but the bake of one region takes 5m: give it \
             the bakes of all regions and more"],
    );
    assert_refused(
        &service("upgrade: {bake: {region: 0s}, deadline: {step: 10m, fleet: 9m}}\n"),
        &["5:60: the upgrade must end within 9m, before its first step must, within 10m: \
             write at least upgrade.deadline.step"],
    );
    assert_refused(
        &service(
            "\
traffic: {dns: {port: 80}, drain: 55s}
upgrade: {deadline: {step: 1m}}
",
        ),
        &["6:28: a step must end within 1m, but drain and stop_timeout alone may take 1m5s: \
             write more than the sum of the two"],
    );
}

#[test]
fn refuses_artifacts_that_are_no_file() {
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: file://srv/web
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["5:8: `file://srv/web` is not an absolute path: three slashes follow `file:`: write \
             file:///path, http://host/path or https://host/path"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: file:///srv/
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["5:8: `file:///srv/` names no file: write file:///path, http://host/path or \
             https://host/path"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: https://
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["5:8: `https://` names no host: write file:///path, http://host/path or \
             https://host/path"],
    );
}

#[test]
fn refuses_artifacts_that_differ_or_tell_secrets() {
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: s3://b/web
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["5:8: `s3://b/web` has a scheme other than file, http and https: write \
             file:///path, http://host/path or https://host/path"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: http://u:p@h/web
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["5:8: `http://u:p@h/web` holds a user or a password, which everybody could read \
             here: write file:///path, http://host/path or https://host/path"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: \"http://h/web-{version}\"
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["5:8: `http://h/web-{version}` holds a placeholder, but is the same on every node: \
             write file:///path, http://host/path or https://host/path"],
    );
}

#[test]
fn tells_contradictions_beside_unknown_fields() {
    assert_refused(
        &service(
            "\
serving: {nodes: 0}
chekcs: []
",
        ),
        &[
            "5:18: a region with no ready node would count as serving: write at least 1",
            "6:1: service has no field `chekcs`: did you mean `checks`?",
        ],
    );
}
