// Addresses: `#/tags?search=press`. Everything that a view shows stands in its address.

/** Reads the address. */
export function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: path || "overview", query: new URLSearchParams(query ?? "") };
}

/** Makes an address; empty values are left out. */
export function href(name, query = {}) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") params.append(key, one);
    }
  }
  const text = params.toString().replaceAll("%2F", "/");
  return `#/${name}${text ? `?${text}` : ""}`;
}

/** Goes to an address. */
export function go(name, query) {
  location.hash = href(name, query);
}

/** Changes the address of this view without a step in the history, and without a new view. */
export function note(name, query) {
  history.replaceState(null, "", href(name, query));
  document.dispatchEvent(new Event("address-noted"));
}
