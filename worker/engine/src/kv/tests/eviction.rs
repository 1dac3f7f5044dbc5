//! What is kept, for whom, and what goes first.

use hearth_program::{PAGE_TOKENS, PageId};

use super::{counts, layout, salt, text};
use crate::kv::{Full, Pool};

/// Computes a text and lets it go.
fn pass(pool: &Pool, of: &str, letters: &str) {
    let tokens = text(letters);
    let mut table = pool.begin(&salt(of), &tokens, tokens.len());
    table.reserve(tokens.len()).unwrap();
    table.share(&tokens);
}

/// Pages of a text that are found.
fn found(pool: &Pool, of: &str, letters: &str) -> usize {
    let tokens = text(letters);
    pool.begin(&salt(of), &tokens, tokens.len()).shared_tokens() / PAGE_TOKENS
}

#[test]
fn a_prefix_is_found_as_far_as_it_goes() {
    let pool = Pool::new(&layout(&[None], 16, 1));
    pass(&pool, "", "abcd");
    assert_eq!(counts(&pool), (0, 12, 4));
    for (letters, pages) in [("abcd", 4), ("abcde", 4), ("abxd", 2), ("xbcd", 0), ("bcd", 0), ("", 0)] {
        assert_eq!(found(&pool, "", letters), pages, "{letters}");
    }
    assert_eq!(found(&pool, "another", "abcd"), 0, "salts share nothing");
    let tokens = text("abcd");
    let most = |most| pool.begin(&salt(""), &tokens, most).shared_tokens() / PAGE_TOKENS;
    assert_eq!([most(tokens.len() - 1), most(PAGE_TOKENS), most(PAGE_TOKENS - 1)], [3, 1, 0]);
    // Not even its first page was filled.
    assert_eq!(pool.begin(&salt(""), &tokens[..PAGE_TOKENS - 1], 99).shared_tokens(), 0);
}

#[test]
fn sequences_of_one_text_hold_its_pages_once() {
    let pool = Pool::new(&layout(&[None], 16, 1));
    let tokens = text("abc");
    // Neither finds the other's pages, as both begin at once.
    let mut tables = [(); 2].map(|()| pool.begin(&salt(""), &tokens, tokens.len()));
    for table in &mut tables {
        table.reserve(tokens.len() + 1).unwrap();
    }
    assert_eq!(counts(&pool).0, 8);
    for table in &mut tables {
        table.share(&tokens);
    }
    let [first, second] = &tables;
    assert_eq!(first.tables()[0][..3], second.tables()[0][..3]);
    assert_ne!(first.tables()[0][3], second.tables()[0][3], "the last pages are being written");
    assert_eq!(counts(&pool), (5, 11, 0));
    drop(tables);
    assert_eq!(counts(&pool), (0, 13, 3));
}

#[test]
fn the_longest_unused_goes_first_and_of_a_text_its_end() {
    let pool = Pool::new(&layout(&[None], 8, 1));
    pass(&pool, "", "abc");
    pass(&pool, "", "xyz");
    assert_eq!(found(&pool, "", "abc"), 3, "used once more");
    let mut table = pool.begin(&salt(""), &[], 0);
    table.reserve(4 * PAGE_TOKENS).unwrap();
    assert_eq!((found(&pool, "", "xyz"), found(&pool, "", "abc")), (1, 3));
    table.reserve(6 * PAGE_TOKENS).unwrap();
    assert_eq!((found(&pool, "", "xyz"), found(&pool, "", "abc")), (0, 2));
    assert_eq!(table.reserve(9 * PAGE_TOKENS), Err(Full { wanted: 3, available: 2 }));
    assert_eq!(found(&pool, "", "abc"), 2, "what could not be had was not evicted for");
    drop(table);
    pool.forget();
    assert_eq!((counts(&pool), pool.lock().nodes()), ((0, 8, 0), 0));
}

#[test]
fn what_is_held_is_not_evicted() {
    let pool = Pool::new(&layout(&[None], 4, 1));
    pass(&pool, "", "abc");
    let tokens = text("ab");
    let table = pool.begin(&salt(""), &tokens, tokens.len());
    let held = table.tables()[0].clone();
    let mut other = pool.begin(&salt(""), &[], 0);
    other.reserve(2 * PAGE_TOKENS).unwrap();
    assert_eq!(other.reserve(3 * PAGE_TOKENS), Err(Full { wanted: 1, available: 0 }));
    assert!(other.tables()[0].iter().all(|page| !held.contains(page)));
    assert_eq!(found(&pool, "", "abc"), 2);
}

#[test]
fn a_window_gives_pages_back_and_is_found_by_its_end() {
    // A window of two pages: what follows a page sees that page and the one before.
    let window = PAGE_TOKENS + 1;
    let pool = Pool::new(&layout(&[Some(window), None], 32, 1));
    let tokens = text("abcdefgh");
    let mut table = pool.begin(&salt(""), &tokens, tokens.len());
    for page in 1..=8 {
        let end = page * PAGE_TOKENS;
        table.slide(end - PAGE_TOKENS);
        table.reserve(end).unwrap();
        table.share(&tokens[..end]);
    }
    let [sliding, whole] = table.tables() else { panic!("two groups") };
    let none = |pages: &[PageId]| pages.iter().filter(|page| **page == PageId::NONE).count();
    assert_eq!((none(sliding), none(whole)), (6, 0));
    assert_eq!(table.wants(32 * PAGE_TOKENS), [pool.occupancy()[0].total - 2, 24]);
    drop(table);
    assert_eq!(found(&pool, "", "abcdefgh"), 8);

    // Room in the sliding group is made from the beginning of the text.
    let [sliding, _] = pool.occupancy()[..] else { panic!("two groups") };
    let mut other = pool.begin(&salt(""), &[], 0);
    other.reserve((sliding.free + 1) * PAGE_TOKENS).unwrap();
    assert_eq!(found(&pool, "", "abcdefgh"), 8, "only what has slid out of the end is gone");
    let tokens = text("abcdefgh");
    let table = pool.begin(&salt(""), &tokens, tokens.len() - 1);
    let [sliding, whole] = table.tables() else { panic!("two groups") };
    assert_eq!((none(sliding), none(whole)), (5 + 1, 0));
    drop(table);
    assert_eq!(found(&pool, "", "a"), 0, "its page in the window is gone");
}

#[test]
fn windows_alone_keep_the_way_to_a_page_but_not_for_ever() {
    let pool = Pool::new(&layout(&[Some(2)], 8, 1));
    let pages = pool.occupancy()[0].total;
    for round in 0..100u32 {
        let tokens = (0..64 * PAGE_TOKENS as u32).map(|at| at + 10_000 * round).collect::<Vec<_>>();
        let mut table = pool.begin(&salt(""), &tokens, tokens.len());
        for end in (PAGE_TOKENS..=tokens.len()).step_by(PAGE_TOKENS) {
            table.slide(end - PAGE_TOKENS);
            table.reserve(end).unwrap();
            table.share(&tokens[..end]);
        }
        assert!(pool.lock().nodes() <= 8 * pages);
    }
    pool.forget();
    assert_eq!((counts(&pool), pool.lock().nodes()), ((0, pages, 0), 0));
}
