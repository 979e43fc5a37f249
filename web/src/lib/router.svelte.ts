/** Where the reader is: everything that matters stands in the address, behind the #, and can be shared and reloaded. */

export type Query = Record<string, string | number | boolean | null | undefined>

export interface Place {
  /** The run's name; '' where none is chosen. */
  run: string
  /** 'overview', 'features', … */
  page: string
  /** What stands behind the page's name, such as a feature's number. */
  rest: string[]
  query: URLSearchParams
}

function read(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s)
  const [run = '', page = '', ...rest] = path.split('/').map(decoded)
  return { run, page: page || 'overview', rest, query: new URLSearchParams(query) }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

/** The address of a page of a run; what is empty in `query` is left out. */
export function address(run: string, path: (string | number)[] = [], query: Query = {}): string {
  const words = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '' && value !== false) words.set(name, String(value))
  }
  const text = words.toString()
  return `#/${[run, ...path].map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`
}

class Router {
  place = $state.raw<Place>(read(location.hash))

  constructor() {
    window.addEventListener('hashchange', () => (this.place = read(location.hash)))
  }

  go(to: string): void {
    location.hash = to
  }

  /** Change the query of this page without a new entry in the browser's history. */
  refine(changes: Query): void {
    const { run, page, rest, query } = this.place
    const all = { ...Object.fromEntries(query), ...changes }
    const to = address(run, page === 'overview' ? [] : [page, ...rest], all)
    history.replaceState(history.state, '', to)
    this.place = read(to)
  }
}

export const router = new Router()
