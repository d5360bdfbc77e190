//! Manifests from files, directories and stdin: all of them, or every finding in any of them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use trireme_proto::manifest::{Located, ManifestError, TEXT_LEN_MAX, parse_bytes};
use trireme_proto::model::Object;
use trireme_proto::problem::{Code, Problem};

use crate::error::caused;

/// Files taken at once: a fleet's manifests are a handful, and one request carries them all.
const FILES_MAX: usize = 1000;

/// Reads manifests; a directory stands for its `*.yaml` and `*.yml`, `-` for stdin.
pub(crate) fn load(files: &[PathBuf]) -> Result<Vec<Object>, Problem> {
    let mut objects: Vec<Located<Object>> = Vec::new();
    let mut wrong: Option<ManifestError> = None;
    for path in expand(files)? {
        match parse_bytes(&name(&path), &read(&path)?) {
            Ok(more) => objects.extend(more),
            Err(error) => {
                wrong = Some(match wrong {
                    Some(before) => before.and(error),
                    None => error,
                });
            }
        }
    }
    match wrong {
        Some(error) => Err(Problem::from(&error)),
        None => Ok(objects.into_iter().map(|object| object.value).collect()),
    }
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    caused(Problem::new(Code::Usage, format!("cannot {what} {}", path.display())), error)
}

/// Returns the files that are meant, each directory's in the order of their names.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in path.read_dir().map_err(|error| cannot("list", path, &error))? {
            let file = entry.map_err(|error| cannot("list", path, &error))?.path();
            let yaml = file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
            if yaml && file.is_file() {
                found.push(file);
            }
        }
        if found.is_empty() {
            let message = format!("directory {} holds no *.yaml", path.display());
            return Err(Problem::new(Code::Usage, message));
        }
        found.sort();
        files.extend(found);
    }
    if files.len() > FILES_MAX {
        let message = format!("{} files are more than {FILES_MAX}", files.len());
        return Err(Problem::new(Code::Usage, message));
    }
    Ok(files)
}

/// Reads a file, or stdin; one byte more than allowed is enough for the parser to refuse it.
fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let limit = u64::try_from(TEXT_LEN_MAX).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_directory_stands_for_its_yaml_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "b.yml", "kind: Region\nname: gcp\n");
        write(dir.path(), "a.yaml", "kind: Region\nname: aws\n---\nkind: Region\nname: aliyun\n");
        write(dir.path(), "notes.txt", "not: a manifest\n");
        let objects = load(&[dir.path().to_owned()]).unwrap();
        let names: Vec<_> = objects.iter().map(Object::name).collect();
        assert_eq!(names, ["aws", "aliyun", "gcp"]);
    }

    #[test]
    fn findings_of_every_file_are_told_at_once_with_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let first = write(dir.path(), "a.yaml", "kind: Region\nnam: aws\n");
        let second = write(dir.path(), "b.yaml", "kind: Regoin\nname: gcp\n");
        let problem = load(&[first, second]).unwrap_err();
        assert_eq!(problem.code, Code::Usage);
        assert!(problem.why.iter().any(|why| why.contains("a.yaml:2:1")), "{problem:?}");
        assert!(problem.why.iter().any(|why| why.contains("b.yaml:1:7")), "{problem:?}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let problem = load(&["/nonexistent/a.yaml".into()]).unwrap_err();
        assert_eq!(problem.message, "cannot read /nonexistent/a.yaml");
        let dir = tempfile::tempdir().unwrap();
        let empty = load(&[dir.path().to_owned()]).unwrap_err();
        assert!(empty.message.ends_with("holds no *.yaml"), "{empty}");
    }
}
