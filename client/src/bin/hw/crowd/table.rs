//! Results for people: named values side by side.

/// Two lines: the names, and below each its value.
pub(crate) fn two_lines<N: AsRef<str>>(columns: &[(N, String)]) -> String {
    let line = |of: fn(&(N, String)) -> &str| {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                format!("{:>1$}", of(column), column.0.as_ref().chars().count().max(column.1.chars().count()))
            })
            .collect();
        cells.join("  ")
    };
    format!("{}\n{}", line(|column| column.0.as_ref()), line(|column| &column.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_above_their_values() {
        let table = two_lines(&[("a", "1234".to_owned()), ("längst", "5".to_owned())]);
        assert_eq!(table, "   a  längst\n1234       5");
    }
}
