//! `hearth-operator crds`.

use std::io::{self, Write};

/// Writes every CustomResourceDefinition as one YAML document.
///
/// # Errors
/// When `to` cannot be written to.
pub fn print(to: &mut impl Write) -> io::Result<()> {
    for crd in hearth_api::crd::all() {
        writeln!(to, "---\n{}", hearth_api::crd::yaml(&crd).trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_kinds_are_printed() {
        let mut text = Vec::new();
        super::print(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("\nkind: CustomResourceDefinition\n").count(), 2);
        assert!(text.contains("name: servedmodels.hearth.dev") && text.contains("name: workers.hearth.dev"));
    }
}
