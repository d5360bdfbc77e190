//! Drivers that name no project, file or unit that could be one.

use super::Faults;
use crate::model::{ComposeDriver, Driver, SystemdDriver};

/// Longest name that systemd takes, less what placeholders may add.
const UNIT_LEN_MAX: usize = 128;

pub(super) fn validate(driver: &Driver, faults: &mut Faults) {
    match driver {
        Driver::Process(_) => {}
        Driver::Compose(compose) => validate_compose(compose, faults),
        Driver::Systemd(systemd) => validate_systemd(systemd, faults),
    }
}

fn validate_compose(compose: &ComposeDriver, faults: &mut Faults) {
    let ComposeDriver { project, file, stop_timeout: _ } = compose;
    let path = "driver.compose.project";
    faults.template(path, project);
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    let bare = without(project, &["{node}", "{region}", "{service}"]);
    if project.is_empty() || project.starts_with(['-', '_']) || !bare.bytes().all(letters) {
        let message = format!("`{project}` cannot be the name of a compose project");
        let help = "use a-z, 0-9, - and _, or {node}, {region} and {service}";
        faults.add(path, message, help);
    }
    let path = "driver.compose.file";
    faults.template(path, file);
    let inside = !file.split('/').any(|part| part == "..");
    if !(file.starts_with('/') || file.starts_with("{data}/")) || file.ends_with('/') || !inside {
        let message = format!("`{file}` is not the absolute path of a file");
        faults.add(path, message, "write it like /opt/web/docker-compose.yml, without ..");
    }
}

fn validate_systemd(systemd: &SystemdDriver, faults: &mut Faults) {
    let SystemdDriver { unit, stop_timeout: _ } = systemd;
    let path = "driver.systemd.unit";
    faults.template(path, unit);
    let bare = without(unit, &["{node}", "{region}", "{service}"]);
    let letters = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let name = unit.strip_suffix(".service");
    let is_name = name.is_some_and(|name| !name.is_empty() && !name.starts_with(['.', '@', '-']));
    if !is_name || bare.len() > UNIT_LEN_MAX || !bare.bytes().all(letters) {
        let message = format!("`{unit}` cannot be the name of a unit that runs a service");
        faults.add(
            path,
            message,
            "write the whole of it, such as web.service or web@{region}.service",
        );
    }
}

fn without(template: &str, names: &[&str]) -> String {
    names.iter().fold(template.to_owned(), |text, name| text.replace(name, ""))
}
