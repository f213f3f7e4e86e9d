//! Any values as a dkms.conf's: a recipe or an error, strict and lenient.
#![no_main]

use std::path::Path;

use dkms_core::conf::recipe::RecipeInput;
use dkms_core::conf::{Recipe, Values};
use dkms_core::host::kconfig::KernelConfig;
use dkms_core::layout::Layout;
use dkms_core::model::KernelId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(values) = serde_json::from_slice::<Values>(json) else { return };
    let Ok(kernel) = KernelId::new("6.1.0-56-amd64", "x86_64") else { return };
    let layout = Layout::default();
    let config = KernelConfig::parse("CONFIG_ACPI=y\nCONFIG_VIDEO=m\n");
    for strict in [true, false] {
        let recipe = Recipe::from_values(&RecipeInput {
            values: &values,
            kernel: &kernel,
            config: &config,
            layout: &layout,
            path: Path::new("dkms.conf"),
            package: None,
            strict,
        });
        if let Ok(recipe) = recipe {
            let _ = recipe.obsolete_reason(&kernel.release);
            for module in &recipe.modules {
                assert!(module.dest_location.starts_with('/'));
                for path in [&module.dest_location, &module.built_location] {
                    assert!(path.split('/').all(|part| part != ".."), "{path}");
                }
            }
        }
    }
});
