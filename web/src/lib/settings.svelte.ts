/** What a reader chose, kept by the browser: never needed to understand an address. */

export type Theme = 'system' | 'light' | 'dark'

const KEY = 'semascope'

interface Kept {
  theme: Theme
  singleKeys: boolean
  toured: boolean
}

function kept(): Kept {
  const standard: Kept = { theme: 'system', singleKeys: true, toured: false }
  try {
    return { ...standard, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Kept>) }
  } catch {
    return standard
  }
}

class Settings {
  #kept = $state(kept())

  get theme(): Theme {
    return this.#kept.theme
  }

  get singleKeys(): boolean {
    return this.#kept.singleKeys
  }

  get toured(): boolean {
    return this.#kept.toured
  }

  keep(changes: Partial<Kept>): void {
    Object.assign(this.#kept, changes)
    this.show()
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#kept))
    } catch {
      // A browser that keeps nothing still shows everything.
    }
  }

  show(): void {
    document.documentElement.dataset.theme = this.#kept.theme
  }
}

export const settings = new Settings()
settings.show()
