/** Something fetched: what was there stays visible while what follows is on its way. */

export interface Resource<T> {
  readonly data: T | undefined
  readonly error: Error | undefined
  readonly loading: boolean
  /** Put in what is known to be there now, without asking again. */
  set(data: T): void
  again(): void
}

/** Load, and load again whenever what `load` reads changes; the older request is then given up. */
export function resource<T>(load: (signal: AbortSignal) => Promise<T> | undefined): Resource<T> {
  let data = $state.raw<T>()
  let error = $state.raw<Error>()
  let loading = $state(true)
  let round = $state(0)
  $effect(() => {
    void round
    const cancel = new AbortController()
    const coming = load(cancel.signal)
    loading = coming !== undefined
    coming?.then(
      (found) => {
        if (cancel.signal.aborted) return
        data = found
        error = undefined
        loading = false
      },
      (problem: unknown) => {
        if (cancel.signal.aborted) return
        error = problem instanceof Error ? problem : new Error(String(problem))
        loading = false
      },
    )
    return () => cancel.abort()
  })
  return {
    get data() { return data },
    get error() { return error },
    get loading() { return loading },
    set(value) { data = value },
    again() { round += 1 },
  }
}
