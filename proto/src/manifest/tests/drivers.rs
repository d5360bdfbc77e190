//! Drivers, and releases that they can or cannot run.

use super::super::{Known, check_set, parse};
use super::{RELEASE, SERVICE, assert_refused, assert_says, objects};
use crate::model::{Driver, Object};
use crate::time::Span;

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

const COMPOSE: &str = "\
kind: Service
name: dvn
nodes: {labels: {role: dvn}}
driver:
  compose: {project: \"dvn-{node}\", file: /opt/dvn/docker-compose.yml}
";

fn release(fields: &str) -> String {
    format!("kind: Release\nservice: dvn\nversion: 1.4.2\n{fields}")
}

fn images(image: &str) -> String {
    release(&format!("images:\n  api: \"{image}\"\n"))
}

fn driver(what: &str) -> String {
    format!("kind: Service\nname: dvn\nnodes: {{labels: {{role: dvn}}}}\ndriver:\n  {what}\n")
}

#[test]
fn a_compose_project_and_its_images_are_read() {
    let image = format!("registry.example:5000/dvn/api@sha256:{DIGEST}");
    let objects = objects(&format!("{COMPOSE}---\n{}", images(&image)));
    let [Object::Service(service), Object::Release(release)] = &objects[..] else {
        panic!("not a service and a release: {objects:?}")
    };
    let Driver::Compose(compose) = &service.driver else { panic!("not compose") };
    assert_eq!((compose.project.as_str(), compose.stop_timeout), ("dvn-{node}", Span::secs(10)));
    assert_eq!(release.images["api"].to_string(), image);
    assert_eq!(release.fits(&service.driver), Ok(()));
}

#[test]
fn dvn_43_an_image_that_may_be_another_tomorrow_is_refused_at_its_place() {
    for (image, why) in [
        (
            "registry.example/api:latest",
            "is not named by its digest: write repository@sha256:DIGEST",
        ),
        ("api", "is not named by its digest: write repository@sha256:DIGEST"),
    ] {
        assert_refused(&images(image), &[&format!("5:8: image `{image}` {why}")]);
    }
    let tagged = format!("api:1.4@sha256:{DIGEST}");
    let why = format!("5:8: image `{tagged}` has a tag beside its digest: leave the tag out");
    assert_refused(&images(&tagged), &[&why]);
    assert_refused(
        &images("api@sha256:12"),
        &["5:8: image `api@sha256:12` has no whole digest: write sha256: and 64 hexadecimal \
             digits after the @"],
    );
}

#[test]
fn a_release_is_a_file_or_images() {
    assert_refused(
        &release(""),
        &["1:1: a release without a file and without images is nothing: write `artifact` with \
             url and sha256, or for the driver compose `images`"],
    );
    let both = format!(
        "artifact: {{url: \"file:///a\", sha256: \"{DIGEST}\"}}\nargv: [/a]\n\
         images: {{api: \"r.example/api@sha256:{DIGEST}\", \"-x\": \"r.example/x@sha256:{DIGEST}\"}}\n"
    );
    assert_refused(
        &release(&both),
        &[
            "4:11: a release is a file or images, not both: leave out `artifact` for the driver \
             compose",
            "5:7: images are not started by argv: leave out `argv`: the compose file says what \
             each container runs",
            "6:110: `-x` cannot be a service of a compose file: use letters, digits, - _ and .",
        ],
    );
}

#[test]
fn projects_and_files_that_cannot_be_are_refused() {
    for project in ["", "DVN", "dvn!", "-dvn", "{data}", "a b"] {
        let written = driver(&format!("compose: {{project: \"{project}\", file: /opt/c.yml}}"));
        let message = format!(
            "5:22: `{project}` cannot be the name of a compose project: use a-z, 0-9, - and _, or \
             {{node}}, {{region}} and {{service}}"
        );
        assert_refused(&written, &[&message]);
    }
    for file in ["c.yml", "/opt/", "/opt/../etc/c.yml", "{data}/../c.yml"] {
        let written = driver(&format!("compose: {{project: dvn, file: \"{file}\"}}"));
        let message = format!(
            "5:33: `{file}` is not the absolute path of a file: write it like \
             /opt/web/docker-compose.yml, without .."
        );
        assert_refused(&written, &[&message]);
    }
}

/// DVN-11: a unit is named in full, and a release of it is a file and what to run.
#[test]
fn dvn_11_a_unit_and_its_program_are_read() {
    let yaml = driver("systemd: {unit: \"dvn@{region}.service\"}");
    let file = release(&format!(
        "artifact: {{url: \"file:///a\", sha256: \"{DIGEST}\"}}\nargv: [\"{{artifact}}\", -v]\n"
    ));
    let objects = objects(&format!("{yaml}---\n{file}"));
    let [Object::Service(service), Object::Release(release)] = &objects[..] else {
        panic!("not a service and a release: {objects:?}")
    };
    let Driver::Systemd(systemd) = &service.driver else { panic!("not systemd") };
    assert_eq!(systemd.unit, "dvn@{region}.service");
    assert_eq!(service.driver.stop_timeout(), Span::secs(90));
    assert_eq!(release.fits(&service.driver), Ok(()));
    let image = super::objects(&images(&format!("r.example/api@sha256:{DIGEST}")));
    let Object::Release(image) = &image[0] else { panic!("not a release") };
    let misfit = image.fits(&service.driver).unwrap_err();
    assert_eq!(misfit.to_string(), "driver systemd needs a release with `artifact` and `argv`");
}

#[test]
fn units_that_cannot_be_are_refused() {
    for unit in ["", "web", ".service", "web.socket", "../web.service", "-H.service", "a b.service"]
    {
        let written = driver(&format!("systemd: {{unit: \"{unit}\"}}"));
        let message = format!(
            "5:19: `{unit}` cannot be the name of a unit that runs a service: write the whole of \
             it, such as web.service or web@{{region}}.service"
        );
        assert_refused(&written, &[&message]);
    }
}

#[test]
fn a_release_that_the_driver_cannot_run_is_refused() {
    let image = images(&format!("r.example/api@sha256:{DIGEST}"));
    let web = image.replace("service: dvn", "service: web");
    let yaml = format!("{SERVICE}---\n{web}");
    let parsed = parse("m.yaml", &yaml).unwrap();
    let error = check_set(&parsed, &Known::default()).unwrap_err();
    let line = SERVICE.lines().count() + 2;
    assert_says(
        &yaml,
        &error,
        &[&format!(
            "{line}:1: service web cannot run it: driver process needs a release with `artifact` \
             and `argv`: look at both: trictl explain release, trictl explain service"
        )],
    );
    // Against a service that the fleet has already as well.
    let dvn = objects(COMPOSE);
    let Object::Service(service) = &dvn[0] else { panic!("not a service") };
    let services = [(service.name.clone(), service.driver.clone())].into();
    let known = Known { services, ..Known::default() };
    let file = RELEASE.replace("service: web", "service: dvn");
    let error = check_set(&parse("m.yaml", &file).unwrap(), &known).unwrap_err();
    assert!(error.to_string().contains("driver compose needs a release with `images` alone"));
    assert!(check_set(&parse("m.yaml", &image).unwrap(), &known).is_ok());
}
