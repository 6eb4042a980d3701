//! A vector with holes: stable places for members and rooms.

/// Values in numbered places; a place that became free is used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = Some(value);
                place
            }
            None => {
                self.places.push(Some(value));
                // Each client has a thread, so memory runs out long before u32
                // does.
                (self.places.len() - 1) as u32
            }
        }
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.places.get_mut(place as usize)?.take();
        if value.is_some() {
            self.free.push(place);
        }
        value
    }

    /// Takes a value out of its place, which is kept for it.
    pub(super) fn take_out(&mut self, place: u32) -> Option<T> {
        self.places.get_mut(place as usize)?.take()
    }

    /// Puts back what was [taken out](Slab::take_out) of a place.
    pub(super) fn put_back(&mut self, place: u32, value: T) {
        if let Some(hole) = self.places.get_mut(place as usize) {
            *hole = Some(value);
        }
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.places.get(place as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(place, value)| Some((place as u32, value.as_ref()?)))
    }

    /// How many places there are, the free ones included.
    pub(super) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_stable_and_used_again() {
        let mut slab = Slab::new();
        let [a, b, c] = ["a", "b", "c"].map(|value| slab.insert(value));
        assert_eq!(slab.remove(b), Some("b"));
        assert_eq!(slab.remove(b), None);
        assert_eq!(
            (slab.get(a), slab.get(b), slab.get(c)),
            (Some(&"a"), None, Some(&"c"))
        );
        assert_eq!(slab.take_out(a), Some("a"));
        assert_eq!(slab.take_out(a), None);
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.insert("d"), b, "the only free place");
        slab.put_back(a, "a");
        assert_eq!(slab.len(), 3);
        assert_eq!(slab.iter().map(|(_, v)| *v).collect::<String>(), "adc");
    }
}
