//! Workflows that are no files of their own: examples in the documentation, and the steps of composite
//! actions, which actionlint reads only as steps of a workflow.

/// The info string of an example.
const EXAMPLE: &str = "```yaml workflow";

/// The examples of a page.
pub(super) fn examples(page: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut current: Option<String> = None;
    for line in page.lines() {
        match &mut current {
            None if line == EXAMPLE => current = Some(String::new()),
            None => {}
            Some(_) if line == "```" => examples.extend(current.take()),
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    examples
}

/// A workflow with the inputs and the steps of a composite action; none if it is no such action as those
/// of this repository are written.
pub(super) fn of_action(action: &str) -> Option<String> {
    let (head, steps) = action.split_once("\n  steps:\n")?;
    let (_, inputs) = head.split_once("\ninputs:\n")?;
    let names = inputs
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.trim().strip_suffix(':'));
    let inputs: String =
        names.map(|name| format!("      {name}:\n        type: string\n")).collect();
    Some(format!(
        "name: action\non:\n  workflow_call:\n    inputs:\n{inputs}permissions: {{}}\njobs:\n  action:\n    \
         runs-on: ubuntu-24.04\n    steps:\n{steps}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_marked() {
        let page = "a\n```yaml workflow\non: push\n\njobs:\n```\n```yaml\nno: workflow\n```\n```yaml \
                    workflow\nname: b\n```\n";
        assert_eq!(examples(page), ["on: push\n\njobs:\n", "name: b\n"]);
    }

    #[test]
    fn an_action_is_steps_with_inputs() {
        let action = "name: x\n\ninputs:\n  kernels:\n    description: >-\n      these:\n    default: a\n  \
                      fail-on:\n    default: b\n\noutputs:\n  no:\n    value: c\n\nruns:\n  using: \
                      composite\n  steps:\n    - run: echo\n";
        let workflow = of_action(action).unwrap();
        let inputs = "inputs:\n      kernels:\n        type: string\n      fail-on:\n        type: \
                      string\npermissions";
        assert!(workflow.contains(inputs), "{workflow}");
        assert!(workflow.ends_with("    steps:\n    - run: echo\n"), "{workflow}");
        assert_eq!(of_action("runs:\n  using: node20\n"), None);
    }
}
