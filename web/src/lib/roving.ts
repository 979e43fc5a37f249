/** Tokens of a text are one stop of the Tab key: the arrows lead from one to the next. */
export function rove(event: KeyboardEvent): void {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
  if (!step) return
  const now = event.target as HTMLElement
  const next = (step > 0 ? now.nextElementSibling : now.previousElementSibling) as HTMLElement | null
  if (!next) return
  event.preventDefault()
  next.focus()
}
