/** A long list that is fetched by pages, as they come into view. */

import { SvelteMap } from 'svelte/reactivity'

export const PAGE = 100
// While the bar is dragged across a long list, pages that only fly by are not asked for.
const PATIENCE_MS = 60

export interface Slice<T> {
  total: number
  rows: T[]
}

export class Paged<T> {
  readonly total: number
  readonly #pages = new SvelteMap<number, T[]>()
  readonly #asked = new Set<number>()
  readonly #load: (offset: number, limit: number) => Promise<Slice<T>>
  #timer = 0
  #error = $state.raw<Error>()

  private constructor(load: (offset: number, limit: number) => Promise<Slice<T>>, first: Slice<T>) {
    this.#load = load
    this.total = first.total
    this.#pages.set(0, first.rows)
    this.#asked.add(0)
  }

  static async open<T>(load: (offset: number, limit: number) => Promise<Slice<T>>): Promise<Paged<T>> {
    return new Paged(load, await load(0, PAGE))
  }

  get error(): Error | undefined {
    return this.#error
  }

  row = (number: number): T | undefined => this.#pages.get(Math.floor(number / PAGE))?.[number % PAGE]

  view = (first: number, last: number): void => {
    clearTimeout(this.#timer)
    const pages = [Math.floor(first / PAGE), Math.floor(last / PAGE)].filter((page) => !this.#asked.has(page))
    if (last >= first && pages.length) this.#timer = window.setTimeout(() => pages.forEach((page) => void this.#fetch(page)), PATIENCE_MS)
  }

  async #fetch(page: number): Promise<void> {
    if (this.#asked.has(page)) return
    this.#asked.add(page)
    try {
      this.#pages.set(page, (await this.#load(page * PAGE, PAGE)).rows)
      this.#error = undefined
    } catch (problem) {
      this.#asked.delete(page)
      this.#error = problem instanceof Error ? problem : new Error(String(problem))
    }
  }
}
