//! Standard output is data, standard error is for people.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::diagnostics::{self, Report, Style};

/// Writes one line to standard output.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes bytes and a line break to standard output.
pub(super) fn bytes(data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(data)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a JSON document, indented, to standard output.
pub(super) fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Writes one line to standard error. There is nobody to tell when that fails.
pub(crate) fn remark(text: &str) {
    let mut err = io::stderr().lock();
    if err.write_all(text.as_bytes()).is_ok() && err.write_all(b"\n").is_ok() {
        err.flush().unwrap_or_default();
    }
}

/// Shows diagnostics on standard error, and a last line that counts them when there are several.
pub(crate) fn report(report: &Report) {
    if report.entries().is_empty() {
        return;
    }
    remark(&diagnostics::render(report, style()));
    let (errors, warnings) = (report.errors(), report.warnings());
    if errors + warnings > 1 {
        remark(&format!(
            "{errors} error{}, {warnings} warning{}",
            plural(errors),
            plural(warnings)
        ));
    }
}

/// Colour on a terminal, unless `NO_COLOR` says otherwise (<https://no-color.org>).
pub(crate) fn style() -> Style {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !refused {
        Style::Coloured
    } else {
        Style::Plain
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
