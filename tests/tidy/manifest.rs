//! As much of `Cargo.toml` and `Cargo.lock` as the rules need: sections, keys, and their lines.

/// One line of a manifest: its section, its key, what it is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Section it stands in, such as `workspace.dependencies`.
    pub(crate) section: String,
    /// Key, up to the first dot: `tokio.workspace` is an entry of `tokio`.
    pub(crate) key: String,
    /// What stands after the equals sign.
    pub(crate) value: String,
}

/// Reads the entries of a manifest.
pub(crate) fn entries(text: &str) -> Vec<Entry> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.trim_matches(['[', ']']).clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap_or_default().trim_matches('"');
            let (section, key) = (section.clone(), key.to_owned());
            entries.push(Entry { section, key, value: value.trim().to_owned() });
        }
    }
    entries
}

/// Returns the names under any section of dependencies, those of builds and tests included.
pub(crate) fn dependencies(text: &str) -> Vec<String> {
    let entries = entries(text).into_iter();
    entries.filter(|entry| entry.section.ends_with("dependencies")).map(|entry| entry.key).collect()
}

/// Returns name and version of every package in a lock file.
pub(crate) fn locked(text: &str) -> Vec<(String, String)> {
    let mut packages = Vec::new();
    let mut name = String::new();
    for entry in entries(text).into_iter().filter(|entry| entry.section == "package") {
        let value = entry.value.trim_matches('"').to_owned();
        match entry.key.as_str() {
            "name" => name = value,
            "version" => packages.push((std::mem::take(&mut name), value)),
            _ => {}
        }
    }
    packages
}
