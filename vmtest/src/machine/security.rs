//! Which security modules a kernel turns on.

use kernlab_kernels::{Config, ConfigError, Value};

/// Why the kernel's security modules can't be chosen.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The configuration is not known.
    #[error(
        "which ones this kernel turns on by itself is in its configuration, which is not known: name \
         it as `config` in the kernel's entry"
    )]
    Unknown,
    /// The configuration can't be parsed.
    #[error("the kernel's configuration can't be read")]
    Config(#[from] ConfigError),
    /// The kernel is older than 5.1.
    #[error("the kernel has no parameter `lsm`, which came with 5.1")]
    NoParameter,
    /// The kernel was built without one.
    #[error("the kernel was built without {option}")]
    NotBuilt {
        /// The option.
        option: String,
    },
}

/// The parameter that turns on `wanted`, names separated by commas, beside those that the kernel
/// turns on by itself. None if it does so anyway.
pub(super) fn parameter(
    wanted: &str,
    config: Option<&str>,
) -> Result<Option<String>, SecurityError> {
    let config = Config::parse(config.ok_or(SecurityError::Unknown)?)?;
    // The option and the parameter came together (79f7865d844c, 13e735c0e953).
    let Some(Value::Other(list)) = config.get("CONFIG_LSM") else {
        return Err(SecurityError::NoParameter);
    };
    let list = list.trim_matches('"');
    let mut all: Vec<&str> = list.split(',').filter(|name| !name.is_empty()).collect();
    let by_default = all.len();
    for name in wanted.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let option = option(name);
        if config.get(&option) != Some(&Value::BuiltIn) {
            return Err(SecurityError::NotBuilt { option });
        }
        if !all.contains(&name) {
            all.push(name);
        }
    }
    Ok((all.len() > by_default).then(|| format!("lsm={}", all.join(","))))
}

/// The option that builds a security module.
fn option(name: &str) -> String {
    match name {
        "bpf" => "CONFIG_BPF_LSM".to_owned(),
        // security/integrity, of which these are parts.
        "ima" | "evm" => format!("CONFIG_{}", name.to_uppercase()),
        "lockdown" => "CONFIG_SECURITY_LOCKDOWN_LSM".to_owned(),
        "integrity" => "CONFIG_INTEGRITY".to_owned(),
        other => format!("CONFIG_SECURITY_{}", other.to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DEBIAN_5_10: &str = "CONFIG_LSM=\"lockdown,yama,apparmor\"\n\
                               CONFIG_BPF_LSM=y\nCONFIG_SECURITY_YAMA=y\n";

    #[rstest]
    #[case("bpf", Some("lsm=lockdown,yama,apparmor,bpf"))]
    #[case("yama", None)]
    #[case("yama, bpf", Some("lsm=lockdown,yama,apparmor,bpf"))]
    fn what_is_wanted_is_added(#[case] wanted: &str, #[case] expected: Option<&str>) {
        assert_eq!(parameter(wanted, Some(DEBIAN_5_10)).unwrap().as_deref(), expected);
    }

    #[rstest]
    #[case("bpf", None, "which is not known")]
    #[case("bpf", Some("CONFIG_SECURITY=y\n"), "which came with 5.1")]
    #[case("landlock", Some(DEBIAN_5_10), "built without CONFIG_SECURITY_LANDLOCK")]
    fn what_can_not_be_is_explained(
        #[case] wanted: &str,
        #[case] config: Option<&str>,
        #[case] expected: &str,
    ) {
        let error = parameter(wanted, config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
