/** Keyboard shortcuts: a page says what its keys do while it is shown, and the help lists exactly those. */

import { SvelteMap } from 'svelte/reactivity'
import { settings } from './settings.svelte'

export interface Shortcut {
  /** As `KeyboardEvent.key`, or two of them for one after the other: 'g f'. */
  keys: string
  does: string
  run: () => void
}

const shortcuts = new SvelteMap<string, Shortcut>()
let first = ''

export function all(): Shortcut[] {
  return [...shortcuts.values()]
}

/** Offer shortcuts as long as the component that calls this is shown. */
export function offer(list: Shortcut[]): void {
  $effect(() => {
    for (const one of list) shortcuts.set(one.keys, one)
    return () => {
      for (const one of list) if (shortcuts.get(one.keys) === one) shortcuts.delete(one.keys)
    }
  })
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
}

export function pressed(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return
  if (!settings.singleKeys || document.querySelector('dialog[open]')) return
  const both = shortcuts.get(`${first} ${event.key}`)
  const one = both ?? shortcuts.get(event.key)
  first = both ? '' : event.key
  if (!one) return
  event.preventDefault()
  one.run()
}
