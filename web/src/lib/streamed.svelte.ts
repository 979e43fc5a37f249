/** An answer that the server tells line by line while its model works. */
export class Streamed {
  error = $state.raw<Error>()
  /** Whether there is more to come. */
  runs = $state(false)
  #cancel = new AbortController()

  /** Read an answer in place of one that is still being told. */
  protected async follow(read: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.stop()
    const cancel = (this.#cancel = new AbortController())
    this.error = undefined
    this.runs = true
    try {
      await read(cancel.signal)
    } catch (problem) {
      if (!cancel.signal.aborted) this.error = problem as Error
    } finally {
      if (this.#cancel === cancel) this.runs = false
    }
  }

  /** The server stops the model when nobody reads on. */
  stop(): void {
    this.#cancel.abort()
  }
}
