//! People as tables.

use trireme_proto::view::people::{UserView, UsersView};

use super::page::Page;
use super::table::{NONE, list, table};

/// Returns people, and from where everybody may ask if that is limited.
pub fn users(view: &UsersView) -> Page {
    let row = |user: &UserView| {
        let until = user.logins.iter().map(|login| login.until).max();
        [
            user.name.to_string(),
            list(&user.roles),
            user.state.clone(),
            until.map_or_else(|| NONE.to_owned(), |until| until.to_string()),
            user.last_used.map_or_else(|| NONE.to_owned(), |used| used.to_string()),
            if user.sources.is_empty() { "anywhere".to_owned() } else { list(&user.sources) },
        ]
    };
    let header = ["NAME", "ROLES", "STATE", "LOGGED-IN-UNTIL", "LAST-USED", "FROM"];
    let rows = view.items.iter().map(row).collect();
    let empty = "no people: let one in with `trictl user add NAME ROLE`";
    let page = Page::from(table(header, rows, empty).cut(&["ROLES", "FROM"]));
    if view.sources.is_empty() {
        return page;
    }
    page.line(format!("everybody asks from {} only", list(&view.sources)))
}
