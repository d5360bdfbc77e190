//! Malformed manifests: where each is wrong, why, and what to write instead.
//!
//! What follows `service(` begins on line 5, what follows `release(` on line 8.

use super::{assert_refused, service};

#[test]
fn is_refused_when_it_is_not_yaml() {
    assert_refused(
        "\
kind: Region
name: aws
	cloud: aws
",
        &["2:7: this is not YAML: while scanning a plain scalar, found a tab: indent with \
             spaces, never with tabs"],
    );
    assert_refused(
        "\
kind: Region
name: a: b
",
        &["2:8: this is not YAML: mapping values are not allowed in this context: align \
             fields of one map; put a text that holds `: ` in quotes"],
    );
    assert_refused(
        "\
kind: Region
name: \"aws
",
        &["3:1: this is not YAML: invalid indentation in multiline quoted scalar: check the \
             indentation, quotes and brackets of this line and the one before"],
    );
    assert_refused(
        "\
kind: Region
name: [aws
",
        &["2:7: this is not YAML: unclosed bracket '[': close the bracket"],
    );
    assert_refused(
        "\
kind: Region
name: *aws
",
        &["2:7: this is not YAML: while parsing node, found unknown anchor: put a text that \
             begins with `*` in quotes"],
    );
    assert_refused(
        "\
kind: Region
name: @aws
",
        &["2:7: this is not YAML: unexpected character: `@': put texts that begin with one of \
             @ ` % in quotes; leave control characters out"],
    );
    assert_refused(
        "\
%YAML 1.2
---
kind: Region
name: aws
",
        &["1:1: this is not YAML: YAML directives are disallowed: leave lines that begin with \
             % out"],
    );
    assert_refused(
        "\
kind: Region
 name: aws
",
        &["2:6: this is not YAML: mapping values are not allowed in this context: align \
             fields of one map; put a text that holds `: ` in quotes"],
    );
}

#[test]
fn is_refused_when_it_uses_yaml_beyond_values() {
    assert_refused(
        "\
kind: Region
name: aws
name: gcp
",
        &["3:1: `name` is written twice; first on line 2: keep one of the two"],
    );
    assert_refused(
        "\
kind: Region
name: !!str aws
",
        &["2:7: tag `!!str` has no meaning in a manifest: leave the tag out; put a value in \
             quotes to make it a text"],
    );
    assert_refused(
        "\
kind: Region
<<: {name: aws}
",
        &["2:1: merge keys are not supported: repeat the fields, or name the entire value \
             with an alias"],
    );
    assert_refused(
        "\
kind: Region
{a: b}: c
name: aws
",
        &["2:1: a key is a list or a map: a key is a plain word, such as `name`; put texts \
             with braces in quotes"],
    );
    assert_refused(
        "\
kind: Region
name: &a [*a]
",
        &["2:11: this alias refers to itself: name a value that is complete where it is used"],
    );
    assert_refused(
        "\
kind: Region
name: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
",
        &["2:39: this is not YAML: recursion limit exceeded: no manifest needs this many levels"],
    );
}

#[test]
fn tells_of_a_missing_or_unknown_kind() {
    assert_refused(
        "",
        &["1:1: there is nothing in it: write at least one document, beginning with `kind:`"],
    );
    assert_refused(
        "\
# nothing
---
---
",
        &["1:1: there is nothing in it: write at least one document, beginning with `kind:`"],
    );
    assert_refused(
        "name: aws\n",
        &["1:1: `kind` is missing: kinds are `Region`, `Service`, `Release`, \
           `AlertRule`, `Channel`, `Checklist`"],
    );
    assert_refused(
        "\
kind: service
name: web
",
        &["1:7: there is no kind `service`: did you mean `Service`?"],
    );
    assert_refused(
        "kind: Deployment\n",
        &["1:7: there is no kind `Deployment`: kinds are `Region`, `Service`, `Release`, \
           `AlertRule`, `Channel`, `Checklist`"],
    );
    assert_refused(
        "kind: [Region]\n",
        &["1:7: `kind` must be a text, not a list: kinds are `Region`, `Service`, `Release`, \
           `AlertRule`, `Channel`, `Checklist`"],
    );
    assert_refused(
        "- kind: Region\n",
        &["1:1: a document is a map of fields, not a list: kinds are `Region`, `Service`, \
             `Release`, `AlertRule`, `Channel`, `Checklist`"],
    );
    assert_refused(
        "Region\n",
        &["1:1: a document is a map of fields, not the text `Region`: kinds are `Region`, \
             `Service`, `Release`, `AlertRule`, `Channel`, `Checklist`"],
    );
}

#[test]
fn names_the_field_that_was_meant() {
    assert_refused(
        "\
kind: Region
name: aws
colud: aws
",
        &["3:1: region has no field `colud`: did you mean `cloud`?"],
    );
    assert_refused(
        "\
kind: Region
nmae: aws
",
        &["2:1: region has no field `nmae`: did you mean `name`?"],
    );
    assert_refused(
        &service("replicas: 3\n"),
        &[
            "5:1: service has no field `replicas`: its fields are `by_hand`, `checks`, `driver`, `kind`, \
             `logs`, `name`, `nodes`, `serving`, `traffic`, `upgrade`",
        ],
    );
    assert_refused(
        &service(
            "\
upgrade:
  bake: {regions: 1m}
",
        ),
        &["6:10: bake has no field `regions`: did you mean `region`?"],
    );
    assert_refused(
        "\
kind: Region
name: aws
metadata: {labels: {}}
",
        &["3:1: region has no field `metadata`: its fields are `cloud`, `kind`, `name`"],
    );
}

#[test]
fn says_what_is_missing_and_what_it_takes() {
    assert_refused(
        "kind: Region\n",
        &["1:1: region needs `name`: add `name`, a name of a-z, 0-9 and -: Name of the region."],
    );
    assert_refused(
        "\
kind: Release
service: web
",
        &["1:1: release needs `version`: add `version`, an exact version, such as 1.4.2: \
             Exact version; never a tag that moves."],
    );
    assert_refused(
        &service("traffic: {drain: 5s}\n"),
        &["5:10: traffic needs `dns`: add `dns`, a map with the fields `port`, `ttl`: Records \
             in the built-in DNS."],
    );
    assert_refused(
        &service(
            "\
checks:
  - {name: health, every: 2s}
",
        ),
        &["6:5: check needs one of `http`, `tcp`, `command`: write exactly one of them"],
    );
    assert_refused(
        &service(
            "\
checks:
  - {name: health, http: {}}
",
        ),
        &["6:26: http check needs `url`: add `url`, a text: URL with the placeholders of a \
             release's argv."],
    );
    assert_refused(
        "\
kind: Service
name: web
nodes: {labels: {role: web}}
driver: {}
",
        &["4:9: driver needs one of `process`, `compose`, `systemd`: write exactly one of them"],
    );
}

#[test]
fn refuses_fields_of_later_features_by_name() {
    assert_refused(
        &service("backups: []\n"),
        &["5:1: service field `backups` is not supported by this version: leave it out; \
             supported are `by_hand`, `checks`, `driver`, `kind`, `logs`, `name`, `nodes`, \
             `serving`, `traffic`, `upgrade`"],
    );
    assert_refused(
        &service(
            "\
upgrade:
  canary: {nodes: 1}
  before: {backup_verified_within: 24h}
  window: {}
  failures: {budget: 0}
  bake: {canary: 2m, wave: 1m, fleet: 30m}
",
        ),
        &[
            "6:3: upgrade policy field `canary` is not supported by this version: leave it out; \
             supported are `approvals`, `bake`, `deadline`, `order`",
            "7:3: upgrade policy field `before` is not supported by this version: leave it out; \
             supported are `approvals`, `bake`, `deadline`, `order`",
            "8:3: upgrade policy field `window` is not supported by this version: leave it out; \
             supported are `approvals`, `bake`, `deadline`, `order`",
            "9:3: upgrade policy field `failures` is not supported by this version: leave it \
             out; supported are `approvals`, `bake`, `deadline`, `order`",
            "10:10: bake field `canary` is not supported by this version: leave it out; \
             supported are `region`",
            "10:22: bake field `wave` is not supported by this version: leave it out; supported \
             are `region`",
            "10:32: bake field `fleet` is not supported by this version: leave it out; \
             supported are `region`",
        ],
    );
}

#[test]
fn says_which_type_belongs_where() {
    assert_refused(
        &service("serving: {at_least: two}\n"),
        &["5:21: `serving.at_least` must be a whole number, 0 or more, not `two`: write a \
             number, such as 1"],
    );
    assert_refused(
        &service("serving: {at_least: \"2\"}\n"),
        &["5:21: `serving.at_least` must be a whole number, 0 or more, not the quoted text \
             `2`: leave the quotes out"],
    );
    assert_refused(
        &service("serving: {at_least: -1}\n"),
        &["5:21: `serving.at_least` must be a whole number, 0 or more, not `-1`: write a \
             number, such as 1"],
    );
    assert_refused(
        &service("traffic: {dns: {port: 70000}}\n"),
        &["5:23: `traffic.dns.port` must be a whole number from 0 to 65535, not `70000`: \
             write a number, such as 1"],
    );
    assert_refused(
        &service("serving: 2\n"),
        &["5:10: `serving` must be a map with the fields `at_least`, `nodes`, not `2`: write \
             its fields below it, such as `at_least: …`"],
    );
}

#[test]
fn says_how_to_write_lists_maps_and_words() {
    assert_refused(
        &service("checks: {name: health}\n"),
        &["5:9: `checks` must be a list, not a map: put a `-` in front of each item"],
    );
    assert_refused(
        &service(
            "\
upgrade:
  order: aws
",
        ),
        &["6:10: `upgrade.order` must be a list, not `aws`: write [aws], or one line `- aws` \
             for each"],
    );
    assert_refused(
        &service(
            "\
traffic:
  - dns: {port: 80}
",
        ),
        &["6:3: `traffic` must be a map with the fields `dns`, `drain`, `in_flight`, not a \
             list: leave out the `-` in front of the fields"],
    );
    assert_refused(
        &service("traffic:\n"),
        &["5:8: `traffic` has no value: write a map with the fields `dns`, `drain`, \
             `in_flight`, or leave the field out"],
    );
    assert_refused(
        &service("traffic: {dns: {port: 80}, drain: ~}\n"),
        &["5:35: `traffic.drain` has no value: write a span of time, such as 500ms, 2s or \
             1m30s, or leave the field out"],
    );
    assert_refused(
        "\
kind: Service
name: web
nodes: {labels: {role: [web]}}
driver: {process: {}}
",
        &["3:24: `nodes.labels.role` must be a text, not a list: write a text"],
    );
    assert_refused(
        "\
kind: Service
name: web
nodes: {labels: {role: web}}
driver: process
",
        &["4:9: `driver` must be a map with the fields `process`, `compose`, `systemd`, not \
             `process`: write its fields below it, such as `process: …`"],
    );
}

#[test]
fn says_which_words_and_quotes_belong_where() {
    assert_refused(
        "\
kind: Service
name: web
nodes: {labels: {role: web}}
driver: {process: {stop_signal: SIGTERM, restart: on_failure}}
",
        &[
            "4:33: `driver.process.stop_signal` cannot be `SIGTERM`: write one of `TERM`, \
             `INT`, `QUIT`",
            "4:51: `driver.process.restart` cannot be `on_failure`: did you mean `on-failure`?",
        ],
    );
    assert_refused(
        "\
kind: Service
name: web
nodes: {labels: {role: web}}
driver: {process: {stop_signal: KILL}}
",
        &["4:33: `driver.process.stop_signal` cannot be `KILL`: write one of `TERM`, `INT`, \
             `QUIT`"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: file:///srv/web-1.0.0
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [{artifact}, --listen]
",
        &["7:8: `argv[0]` must be a text, not a map: put it in quotes: \"{artifact}…\""],
    );
}

#[test]
fn refuses_malformed_names_spans_digests_and_versions() {
    assert_refused(
        "\
kind: Region
name: AWS
",
        &["2:7: region `AWS` is not a name: use 1 to 63 of a-z, 0-9 and -, starting and \
             ending with a letter or digit"],
    );
    assert_refused(
        "\
kind: Region
name: \"\"
",
        &["2:7: region `` is not a name: use 1 to 63 of a-z, 0-9 and -, starting and ending \
             with a letter or digit"],
    );
    assert_refused(
        &service("traffic: {dns: {port: 80}, drain: 5}\n"),
        &["5:35: `5` is not a span of time: write it like 500ms, 2s, 1m30s or 4h (at most 366 \
             days)"],
    );
    assert_refused(
        &service("upgrade: {bake: {region: soon}, order: [aws, \"gcp!\"]}\n"),
        &[
            "5:26: `soon` is not a span of time: write it like 500ms, 2s, 1m30s or 4h (at most \
             366 days)",
            "5:46: region `gcp!` is not a name: use 1 to 63 of a-z, 0-9 and -, starting and \
             ending with a letter or digit",
        ],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1.0.0
artifact:
  url: file:///srv/web-1.0.0
  sha256: abc
argv: [\"{artifact}\"]
",
        &["6:11: `abc` is not a SHA-256 digest: write its 64 hexadecimal digits"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: latest
artifact:
  url: file:///srv/web-1.0.0
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["3:10: version `latest` is a moving tag: name the exact version, such as 1.4.2"],
    );
    assert_refused(
        "\
kind: Release
service: web
version: 1/0
artifact:
  url: file:///srv/web-1.0.0
  sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
argv: [\"{artifact}\"]
",
        &["3:10: version `1/0` must be 1 to 64 of letters, digits, . _ + - and start with a \
             digit or letter: write an exact version, such as 1.4.2"],
    );
}

#[test]
fn two_probes_are_one_too_many() {
    assert_refused(
        &service(
            "\
checks:
  - name: health
    http: {url: \"http://127.0.0.1/\"}
    tcp: {address: \"127.0.0.1:80\"}
",
        ),
        &["8:5: check has both `http` and `tcp`: keep exactly one of `http`, `tcp`, `command`"],
    );
}
