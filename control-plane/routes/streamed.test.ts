import { expect, test } from 'vitest'
import { router } from './environment.ts'
import { streamed, streamedAtOnce } from './streamed.ts'

/** Two pieces, and whether they have been put away. */
function twoPieces() {
  const state = { isOpen: false }
  async function* make() {
    state.isOpen = true
    try {
      yield new TextEncoder().encode('one ')
      yield new TextEncoder().encode('two')
    } finally {
      state.isOpen = false
    }
  }
  return { state, make }
}

test.each([
  ['streamed', streamed],
  ['streamedAtOnce', streamedAtOnce],
])(
  '%s: pieces arrive whole; HEAD has none and leaves nothing open; nor does a client that leaves',
  async (_, answer) => {
    const { state, make } = twoPieces()
    const routes = router()
    routes.get('/pieces', async c => answer(c, { 'content-type': 'text/plain' }, make))
    const whole = await routes.request('/pieces')
    expect([await whole.text(), whole.headers.get('content-type'), state.isOpen]).toEqual([
      'one two',
      'text/plain',
      false,
    ])

    const head = await routes.request('/pieces', { method: 'HEAD' })
    expect([head.status, head.headers.get('content-type'), await head.text()]).toEqual([200, 'text/plain', ''])
    expect(state.isOpen).toBe(false)

    const left = (await routes.request('/pieces')).body?.getReader()
    await left?.read()
    await left?.cancel()
    expect(state.isOpen).toBe(false)
  },
)
