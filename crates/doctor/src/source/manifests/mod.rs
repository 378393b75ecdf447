//! YAML and JSON files of objects that are not applied yet, as if they were: each under the key that it would have.
//!
//! Custom resources are named by the definitions among the files; others get the plural that kubectl guesses. What is
//! no object (a values file, a kustomization) is left out, and that is said. Links are not followed.

mod yaml;

use super::{Entry, Lease, Result, Source, SourceError, SourceInfo, SourceKind, Status, Version, Visit};
use bytes::Bytes;
use kube::key::{BuiltIn, key_of};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

const FILE_BYTES_MAX: u64 = 64 << 20;
/// Of folders in each other.
const FOLDERS_MAX: usize = 32;
const NAMESPACE_DEFAULT: &str = "default";

/// Files as a source.
#[derive(Debug)]
pub struct Manifests {
    path: PathBuf,
    entries: BTreeMap<Bytes, Bytes>,
    blind: Vec<String>,
}

/// An object and where it was written.
struct Object {
    place: String,
    value: Value,
}

/// By group and kind: plural, and whether objects have a namespace.
type Definitions = BTreeMap<(String, String), (String, bool)>;

/// Reads a file, or all `*.yaml`, `*.yml` and `*.json` below a folder. `prefix` as `--etcd-prefix` has it.
pub fn open_manifests(path: &Path, prefix: &str) -> Result<Manifests> {
    let mut blind = vec!["files show no cluster: no members, no history, and nothing that is not in them".to_owned()];
    let mut objects = Vec::new();
    for file in files(path)? {
        for (line, value) in documents(&file)? {
            let place = format!("{} line {line}", file.display());
            flatten(Object { place, value }, &mut objects, &mut blind);
        }
    }
    let definitions = objects.iter().filter_map(definition).collect();
    let (mut entries, mut places) = (BTreeMap::new(), BTreeMap::<Bytes, String>::new());
    for object in objects {
        let Some(key) = key(prefix, &object.value, &definitions) else {
            blind.push(format!("{}: an object without a name is left out", object.place));
            continue;
        };
        let key = Bytes::from(key);
        if let Some(before) = places.insert(key.clone(), object.place.clone()) {
            blind.push(format!("{}: replaces the same object in {before}", object.place));
        }
        entries.insert(key, Bytes::from(object.value.to_string()));
    }
    Ok(Manifests { path: path.to_owned(), entries, blind })
}

/// In order of their paths.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| SourceError(format!("read {}: {error}", path.display()));
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut files, mut folders) = (Vec::new(), vec![(path.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| failed(&folder, &error))? {
            let entry = entry.map_err(|error| failed(&folder, &error))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|error| failed(&folder, &error))?);
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
            match () {
                () if is_hidden => {}
                () if kind.is_dir() && depth >= FOLDERS_MAX => {
                    return Err(failed(&path, &format!("more than {FOLDERS_MAX} folders in each other")));
                }
                () if kind.is_dir() => folders.push((path, depth + 1)),
                () if kind.is_file() && ["yaml", "yml", "json"].contains(&end) => files.push(path),
                () => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

fn documents(file: &Path) -> Result<Vec<yaml::Document>> {
    let failed = |error: &dyn std::fmt::Display| SourceError(format!("read {}: {error}", file.display()));
    let bytes = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(failed(&format!("it has {bytes} bytes, and no more than {FILE_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    if file.extension().is_none_or(|end| end != "json") {
        return yaml::documents(&text).map_err(|error| failed(&error));
    }
    let mut stream = serde_json::Deserializer::from_str(&text).into_iter();
    let (mut documents, mut line, mut counted) = (Vec::new(), 1, 0);
    loop {
        let begins = stream.byte_offset();
        let Some(value) = stream.next() else { return Ok(documents) };
        let value = value.map_err(|error| failed(&error))?;
        let blank = text[begins..].len() - text[begins..].trim_start().len();
        line += text[counted..begins + blank].matches('\n').count();
        counted = begins + blank;
        documents.push((line, value));
    }
}

fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    let found = path.iter().try_fold(value, |value, name| value.get(name))?;
    found.as_str().filter(|text| !text.is_empty())
}

/// A list's items are objects of their own; those of a typed list need not say what they are.
fn flatten(object: Object, objects: &mut Vec<Object>, blind: &mut Vec<String>) {
    let Object { place, mut value } = object;
    let (Some(version), Some(kind)) = (text(&value, &["apiVersion"]), text(&value, &["kind"])) else {
        blind.push(format!("{place}: no object, as it has no apiVersion and kind; left out"));
        return;
    };
    let (version, kind) = (version.to_owned(), kind.to_owned());
    let Some((of, items)) = kind.strip_suffix("List").zip(value.get_mut("items").map(Value::take)) else {
        objects.push(Object { place, value });
        return;
    };
    let items = if let Value::Array(items) = items { items } else { Vec::new() };
    for mut item in items {
        if let Some(item) = item.as_object_mut().filter(|_| !of.is_empty()) {
            item.entry("apiVersion").or_insert_with(|| version.clone().into());
            item.entry("kind").or_insert_with(|| of.into());
        }
        // A list in a list is none of Kubernetes'; it stays an object, which has no name.
        match text(&item, &["kind"]).and(text(&item, &["apiVersion"])) {
            Some(_) => objects.push(Object { place: place.clone(), value: item }),
            None => blind.push(format!("{place}: an item without apiVersion and kind is left out")),
        }
    }
}

fn definition(object: &Object) -> Option<((String, String), (String, bool))> {
    let value = &object.value;
    if text(value, &["kind"]) != Some("CustomResourceDefinition") {
        return None;
    }
    let names = |name| text(value, &["spec", "names", name]);
    let of = (text(value, &["spec", "group"])?.to_owned(), names("kind")?.to_owned());
    Some((of, (names("plural")?.to_owned(), text(value, &["spec", "scope"]) == Some("Namespaced"))))
}

/// `None` if it has no name.
fn key(prefix: &str, value: &Value, definitions: &Definitions) -> Option<Vec<u8>> {
    let (version, kind) = (text(value, &["apiVersion"])?, text(value, &["kind"])?);
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let name = text(value, &["metadata", "name"])?;
    let namespace = text(value, &["metadata", "namespace"]);
    let defined = definitions.get(&(group.to_owned(), kind.to_owned()));
    let (resource, is_namespaced) = match (BuiltIn::of_kind(group, kind), defined) {
        (Some(known), _) => (known.resource.to_owned(), known.is_namespaced),
        (None, Some((plural, is_namespaced))) => (plural.clone(), *is_namespaced),
        (None, None) => (guessed_plural(kind), namespace.is_some()),
    };
    let namespace = is_namespaced.then_some(namespace.unwrap_or(NAMESPACE_DEFAULT));
    Some(key_of(prefix, group, &resource, namespace, name))
}

/// As kubectl guesses it without a server.
fn guessed_plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.chars().last() {
        Some('s') => format!("{kind}es"),
        Some('y') => format!("{}ies", &kind[..kind.len() - 1]),
        _ => format!("{kind}s"),
    }
}

impl Source for Manifests {
    fn info(&self) -> SourceInfo {
        let place = self.path.display().to_string();
        SourceInfo { kind: SourceKind::Manifests, place, version: None, blind: self.blind.clone() }
    }

    fn range(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        let from = self.entries.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        for (key, value) in from.take_while(|(key, _)| key.starts_with(prefix)) {
            let (key, value) = (key.clone(), value.clone());
            // As if all were created in the first revision.
            let entry = Entry { key, value, create_revision: 1, mod_revision: 1, version: 1, lease: 0 };
            if visit(&entry) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn keys(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()> {
        self.range(prefix, &mut |entry| visit(&Entry { value: Bytes::new(), ..entry.clone() }))
    }

    fn history(&mut self, _: Visit<'_, Version>) -> Result<bool> {
        Ok(false)
    }

    fn leases(&mut self, _: Visit<'_, Lease>) -> Result<()> {
        Ok(())
    }

    fn status(&mut self) -> Result<Status> {
        Ok(Status::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Manifests>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
            std::fs::write(path, content).expect("writable");
        }
        let opened = open_manifests(folder.path(), "/registry");
        (folder, opened)
    }

    fn keys(manifests: &mut Manifests) -> Vec<String> {
        let mut keys = Vec::new();
        let read = manifests.range(b"", &mut |entry| {
            keys.push(String::from_utf8_lossy(&entry.key).into_owned());
            ControlFlow::Continue(())
        });
        assert_eq!(read, Ok(()));
        keys
    }

    const HOOK: &str =
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: hook}\n";

    #[test]
    fn objects_lie_under_the_keys_that_they_would_have() {
        let crd = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "oxen.farm.io"},
            "spec": {"group": "farm.io", "scope": "Namespaced", "names": {"kind": "Ox", "plural": "oxen"}}}
            {"apiVersion": "farm.io/v1", "kind": "Ox", "metadata": {"name": "bill"}}"#;
        let list = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: s, namespace: n}}\n";
        let typed = "kind: NodeList\napiVersion: v1\nitems: [{metadata: {name: n1}}]\n";
        let guessed = "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {name: p}\n";
        let many = format!("{HOOK}---\n{list}---\n{typed}");
        let files = [
            ("a/crd.json", crd),
            ("many.yaml", &many),
            ("b/guessed.yml", guessed),
            (".git/x.yaml", "{"),
            ("x.txt", "{"),
        ];
        let (_folder, opened) = opened(&files);
        let mut manifests = opened.expect("all can be read");
        assert_eq!(
            keys(&mut manifests),
            [
                "/registry/apiextensions.k8s.io/customresourcedefinitions/oxen.farm.io",
                "/registry/farm.io/oxen/default/bill",
                "/registry/kyverno.io/clusterpolicies/p",
                "/registry/minions/n1",
                "/registry/services/specs/n/s",
                "/registry/validatingwebhookconfigurations/hook",
            ]
        );
        assert_eq!(manifests.info().blind.len(), 1);
        let mut values = Vec::new();
        let read = manifests.range(b"/registry/minions/", &mut |entry| {
            values.push(kube::value::decode(&entry.value).expect("an object").kind);
            ControlFlow::Continue(())
        });
        assert_eq!((read, values), (Ok(()), vec!["Node".to_owned()]));
    }

    #[test]
    fn what_is_left_out_or_replaced_is_said_with_its_line() {
        let text = format!(
            "{HOOK}---\nreplicas: 3\n---\n{HOOK}---\napiVersion: v1\nkind: Pod\nmetadata: {{generateName: p-}}\n"
        );
        let (folder, opened) = opened(&[("a.yaml", &text)]);
        let manifests = opened.expect("it can be read");
        let file = folder.path().join("a.yaml").display().to_string();
        assert_eq!(
            manifests.info().blind[1..],
            [
                format!("{file} line 5: no object, as it has no apiVersion and kind; left out"),
                format!("{file} line 7: replaces the same object in {file} line 1"),
                format!("{file} line 11: an object without a name is left out"),
            ]
        );
        assert_eq!(manifests.entries.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_names_file_and_line() {
        let (folder, yaml) = opened(&[("t.yaml", "a: b\nc: {{ .Values.x }\n")]);
        let error = yaml.expect_err("a template").to_string();
        assert!(error.starts_with(&format!("read {}: line ", folder.path().join("t.yaml").display())), "{error}");
        let (_folder, json) = opened(&[("t.json", "{\n\"a\": }")]);
        let error = json.expect_err("no JSON").to_string();
        assert!(error.contains("t.json: expected value at line 2"), "{error}");
        assert!(open_manifests(Path::new("/does/not/exist.yaml"), "/registry").is_err());
    }
}
