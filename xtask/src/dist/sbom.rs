//! What a release consists of, in the format of CycloneDX: the program and those that it has in it for
//! guests, with all crates that were compiled for them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::DEADLINE;
use crate::{architecture::Architecture, invocation::Invocation};

/// The directories of the packages with programs.
const PACKAGES: [&str; 5] = ["vmtest", "vmtest/agent", "vmtest/conductor", "tracer", "fixtures"];
/// cargo-cyclonedx writes it beside every `Cargo.toml`.
const FILE: &str = "kernlab.cdx";

/// Writes the list.
pub(super) fn write(root: &Path, into: &Path, version: &str, time: &str) -> Result<()> {
    let list = Invocation::cargo(["cyclonedx", "--quiet", "--format", "json"])
        .args(["--spec-version", "1.5", "--target", Architecture::host().facts().target])
        .args(["--override-filename", FILE])
        .env("SOURCE_DATE_EPOCH", time);
    let listed = list.run(DEADLINE);
    let read = |package: &str| {
        let path = root.join(package).join(format!("{FILE}.json"));
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("failed to read {}", path.display()))?;
        // The identifiers name the checkout's directory, which is nobody's business.
        let text = text.replace(&format!("file://{}", root.display()), "file:///kernlab");
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
    };
    let lists = PACKAGES.iter().map(|package| read(package)).collect::<Result<Vec<Value>>>();
    remove(root)?;
    listed?;
    let merged = merge(lists?, version)?;
    let text = serde_json::to_string_pretty(&merged)? + "\n";
    fs::write(into, text).with_context(|| format!("failed to write {}", into.display()))
}

/// Removes what cargo-cyclonedx wrote beside every manifest.
fn remove(root: &Path) -> Result<()> {
    let metadata =
        Invocation::cargo(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata: Value = serde_json::from_str(&metadata.read(DEADLINE)?)?;
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    for manifest in packages.iter().filter_map(|package| package["manifest_path"].as_str()) {
        let dir = Path::new(manifest).parent().unwrap_or(root);
        match fs::remove_file(dir.join(format!("{FILE}.json"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// One list of several: the first is of the program itself, the others of programs in it.
fn merge(lists: Vec<Value>, version: &str) -> Result<Value> {
    let mut lists = lists.into_iter();
    let mut merged = lists.next().context("there is nothing to list")?;
    merged["metadata"]["component"]["name"] = "kernlab".into();
    merged["metadata"]["component"]["version"] = version.into();
    for mut list in lists {
        // A program of guests is a component of the whole.
        let mut own = list["metadata"]["component"].take();
        if let Some(own) = own.as_object_mut() {
            own.remove("components");
        }
        for (key, identifier) in [("components", "bom-ref"), ("dependencies", "ref")] {
            let own = if key == "components" { vec![own.take()] } else { Vec::new() };
            let more = list[key].as_array_mut().map(std::mem::take).unwrap_or_default();
            let all = merged[key].as_array_mut().with_context(|| format!("no {key}"))?;
            for entry in more.into_iter().chain(own) {
                if all.iter().all(|known| known[identifier] != entry[identifier]) {
                    all.push(entry);
                }
            }
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(name: &str, components: &[&str]) -> Value {
        let components: Vec<_> = components.iter().map(|name| json!({"bom-ref": name})).collect();
        let dependencies = json!([{"ref": name, "dependsOn": []}]);
        let component = json!({"bom-ref": name, "name": name, "version": "0"});
        json!({"metadata": {"component": component}, "components": components,
               "dependencies": dependencies})
    }

    #[test]
    fn programs_in_the_program_are_listed_with_what_they_have() {
        let lists = vec![list("host", &["a", "b"]), list("agent", &["b", "c"])];
        let merged = merge(lists, "1.2.3").unwrap();
        let names = |key: &str, identifier: &str| -> Vec<String> {
            let entries = merged[key].as_array().unwrap().iter();
            entries.map(|entry| entry[identifier].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("components", "bom-ref"), ["a", "b", "c", "agent"]);
        assert_eq!(names("dependencies", "ref"), ["host", "agent"]);
        let component = &merged["metadata"]["component"];
        assert_eq!(
            (&component["name"], &component["version"]),
            (&json!("kernlab"), &json!("1.2.3"))
        );
    }
}
