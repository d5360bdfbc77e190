//! Every cell of the matrix, and where roles reach (DVN-45, TSP-47).

use super::*;

fn only(names: &[&str]) -> Regions {
    Regions::Only(names.iter().map(|name| name.parse().unwrap()).collect())
}

fn reach(names: &[&str]) -> Reach {
    Reach::Regions(names.iter().map(|name| name.parse().unwrap()).collect())
}

/// DVN-45: the matrix as it was reviewed; every cell is written out, and nothing else is given.
#[test]
fn every_cell_of_the_matrix_is_as_reviewed() {
    const NONE: Option<Access> = None;
    const READ: Option<Access> = Some(Access::Read);
    const CHANGE: Option<Access> = Some(Access::Change);
    // services, logs, fleet, people, audit, reviews, safety, shell
    let rows = [
        (Role::Admin, [CHANGE, READ, CHANGE, CHANGE, READ, CHANGE, CHANGE, CHANGE]),
        (Role::Operator, [CHANGE, READ, READ, NONE, NONE, NONE, NONE, NONE]),
        (Role::Developer, [NONE, READ, NONE, NONE, NONE, NONE, NONE, NONE]),
        (Role::Auditor, [READ, READ, READ, READ, READ, CHANGE, NONE, NONE]),
    ];
    assert_eq!(rows.map(|(role, _)| role), Role::ALL);
    for (role, cells) in rows {
        for (resource, cell) in Resource::ALL.into_iter().zip(cells) {
            assert_eq!(role.most(resource), cell, "{role} and {resource:?}");
        }
    }
}

#[test]
fn a_verb_needs_what_its_line_says_and_looking_is_part_of_changing() {
    let admins = Grants::everywhere(Role::Admin);
    for &verb in Verb::ALL {
        assert_eq!(admins.role_for(verb, &Reach::Fleet), Some(Role::Admin), "{verb}");
        let (_, access) = verb.needs();
        if access == Access::Change && !matches!(verb.needs().0, Resource::Reviews) {
            assert!(!Role::Auditor.may(verb) && !Role::Developer.may(verb), "{verb}");
        }
        assert!(Grants::default().role_for(verb, &Reach::Anywhere).is_none(), "{verb}");
    }
    assert!(Role::Operator.may(Verb::UpgradeStart) && Role::Operator.may(Verb::Get));
    assert_eq!(who_may(Verb::UpgradeStart), "admin or operator");
}

#[test]
fn verbs_have_one_name_each() {
    let names: BTreeSet<_> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
    assert_eq!(names.len(), Verb::ALL.len());
}

/// A role counts in its regions and nowhere else (TSP-47: the denied cases).
#[test]
fn a_role_reaches_no_further_than_its_regions() {
    let mut grants = Grants::default();
    grants.add(Role::Operator, &only(&["aws", "gcp"]));
    let may = |reach: &Reach| grants.role_for(Verb::UpgradeStart, reach).is_some();
    assert!(may(&reach(&["aws"])) && may(&reach(&["aws", "gcp"])));
    assert!(!may(&reach(&["aliyun"])) && !may(&reach(&["aws", "aliyun"])));
    assert!(!may(&reach(&[])), "an unknown place is no place one may touch");
    assert!(!may(&Reach::Fleet));
    assert!(may(&Reach::Anywhere));
}

#[test]
fn roles_are_added_and_taken_region_by_region() {
    let mut grants = Grants::default();
    grants.add(Role::Operator, &only(&["aws"]));
    grants.add(Role::Operator, &only(&["gcp"]));
    assert_eq!(grants.to_string(), "operator of aws, gcp");
    assert!(grants.take(Role::Operator, &only(&["aws"])));
    assert!(!grants.take(Role::Operator, &only(&["aws"])));
    assert!(grants.take(Role::Operator, &only(&["gcp"])) && grants.is_empty());
    grants.add(Role::Auditor, &Regions::All);
    grants.add(Role::Auditor, &only(&["aws"]));
    assert!(!grants.take(Role::Auditor, &only(&["aws"])), "everywhere cannot be split");
    assert_eq!(grants.to_string(), "auditor");
    assert!(grants.take(Role::Auditor, &Regions::All));
    assert_eq!(grants.to_string(), "nobody in particular");
}

#[test]
fn grants_are_read_as_they_are_written() {
    for text in ["admin", "operator@aws", "developer@aliyun,aws"] {
        assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
    }
    for bad in ["", "root", "operator@", "operator@aws,", "operator@AWS", "@aws"] {
        assert!(bad.parse::<Grant>().is_err(), "{bad:?} passed");
    }
}
