//! The prefix tree: which texts the pages hold.

use std::collections::HashMap;
use std::sync::Arc;

use hearth_program::{PAGE_TOKENS, PageId};

use super::group::Idle;

/// A node's index in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(usize);

/// The tokens of a page.
pub(super) type Run = [u32; PAGE_TOKENS];

/// What a run of tokens follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Parent {
    /// Nothing: it begins a text of this salt.
    Root(Arc<str>),
    Node(NodeId),
}

/// A run of tokens behind those of its ancestors.
pub(super) struct Node {
    parent: Parent,
    run: Run,
    /// Nodes before it.
    pub(super) depth: usize,
    children: usize,
    /// Sequences that begin with it.
    pub(super) holders: usize,
    /// A place for a page in every group.
    pub(super) places: Vec<Place>,
}

/// A page of a node, if it has one.
pub(super) struct Place {
    pub(super) page: PageId,
    /// Sequences with the page in their table.
    pub(super) holders: usize,
    /// There exactly if there is a page and nobody holds it.
    pub(super) idle: Option<Idle>,
}

impl Place {
    pub(super) const EMPTY: Self = Self { page: PageId::NONE, holders: 0, idle: None };
}

#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    index: HashMap<(Parent, Run), NodeId>,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, parent: Parent, run: Run) -> Option<NodeId> {
        self.index.get(&(parent, run)).copied()
    }

    /// # Panics
    /// The node was removed: its id was kept by somebody who does not hold it.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0].as_ref().expect("whoever has a node's id holds the node")
    }

    /// # Panics
    /// As [`Tree::node`].
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0].as_mut().expect("whoever has a node's id holds the node")
    }

    /// Adds a node that is not there, with empty places in `groups` groups.
    pub(super) fn add(&mut self, parent: Parent, run: Run, groups: usize) -> NodeId {
        let depth = match &parent {
            Parent::Root(_) => 0,
            Parent::Node(parent) => {
                let parent = self.node_mut(*parent);
                parent.children += 1;
                parent.depth + 1
            }
        };
        let places = std::iter::repeat_with(|| Place::EMPTY).take(groups).collect();
        let node = Node { parent: parent.clone(), run, depth, children: 0, holders: 0, places };
        let id = self.vacant.pop().unwrap_or(NodeId(self.nodes.len()));
        match self.nodes.get_mut(id.0) {
            Some(place) => *place = Some(node),
            None => self.nodes.push(Some(node)),
        }
        self.index.insert((parent, run), id);
        id
    }

    /// Removes a node that is of no use: without pages, holders and children; and
    /// then its parent, if that was all that it was there for.
    pub(super) fn prune(&mut self, id: NodeId) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let node = self.node(id);
            let has_pages = node.places.iter().any(|place| place.page != PageId::NONE);
            if has_pages || node.holders > 0 || node.children > 0 {
                return;
            }
            let Some(Node { parent, run, .. }) = self.nodes[id.0].take() else { return };
            self.vacant.push(id);
            if let Parent::Node(parent) = parent {
                self.node_mut(parent).children -= 1;
                next = Some(parent);
            }
            self.index.remove(&(parent, run));
        }
    }
}
