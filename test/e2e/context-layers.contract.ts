import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { buildContext } from '#infra/local/builds.ts'
import { type SentContext, uploadChanges } from '#infra/local/context-changes.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import { codeOf } from '#test/support/api.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

const SHOW = 'cd /all && find . -type f ! -name Dockerfile | sort | while read f; do echo "<$f $(cat $f)>"; done'

/** Contexts that are sent as what changed since. */
export function describeContextLayers(get: () => TestSlipway): void {
  describe('a context of several uploads', () => {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-changes-'))
    afterAll(() => rmSync(folder, { recursive: true, force: true }))
    const write = (path: string, text: string) => writeFileSync(join(folder, path), text)
    let sent: SentContext | undefined

    /** What the image has, as the build itself says it. */
    const built = async (more: object = {}) => {
      sent = await uploadChanges(get().api, folder, sent)
      let log = ''
      const request = { context: sent.ids, tags: ['changes:1'], noCache: true, ...more }
      const view = await buildContext(get().api, request, text => (log += text))
      return { view, uploads: sent.ids.length, files: [...log.matchAll(/ <(.*)>$/gm)].map(([, file]) => file) }
    }

    test('what changed is laid over what came before; nothing is sent where nothing changed', async () => {
      write('Dockerfile', `FROM busybox\nCOPY . /all\nRUN ${SHOW}\n`)
      mkdirSync(join(folder, 'd/e'), { recursive: true })
      for (const name of ['a', 'b', 'c', 'd/x', 'd/e/y']) write(name, 'one')
      expect(await built()).toMatchObject({
        uploads: 1,
        files: ['./a one', './b one', './c one', './d/e/y one', './d/x one'],
      })
      write('b', 'two')
      rmSync(join(folder, 'd/e'), { recursive: true })
      rmSync(join(folder, 'a'))
      const changed = await built()
      expect(changed).toMatchObject({ uploads: 2, files: ['./b two', './c one', './d/x one'] })
      const { context } = await get().api.call<BuildView>('GET', `/v1/builds/${changed.view.id}`)
      expect(context).toEqual(sent?.ids)
      expect(await built()).toMatchObject({ uploads: 2, files: changed.files })
      // Digests of uploads are asked for here, so that none is kept from before.
      expect(await built({ provenance: true })).toMatchObject({ uploads: 2, files: changed.files })
    })

    test('an ignore file that comes and goes leaves out what it says, each time', async () => {
      write('.dockerignore', 'c\n.dockerignore\n')
      expect((await built()).files).toEqual(['./b two', './d/x one'])
      rmSync(join(folder, '.dockerignore'))
      expect((await built()).files).toEqual(['./b two', './c one', './d/x one'])
    })

    test('unchanged steps are not done again, and a change is seen', async () => {
      write('Dockerfile', 'FROM busybox\nCOPY b /b\nRUN true\n')
      const cached = async () => {
        sent = await uploadChanges(get().api, folder, sent)
        let log = ''
        const request = { context: sent.ids, tags: ['changes:2'] }
        await buildContext(get().api, request, text => (log += text))
        return log.split('CACHED').length - 1
      }
      expect(await cached()).toBe(0)
      write('c', 'three')
      expect(await cached()).toBe(2)
      write('b', 'six')
      expect(await cached()).toBe(0)
    })

    test('every upload has to be there, and they are not too many', async () => {
      const { id } = await get().api.call<{ id: string }>('POST', '/v1/contexts', {})
      const refused = (context: string[]) =>
        codeOf(get().api.call('POST', '/v1/builds', { context, tags: ['changes:1'] }))
      const [whole = ''] = sent?.ids ?? []
      expect(await refused([whole, id])).toBe('context.not-uploaded')
      expect(await refused([whole, 'a'.repeat(16)])).toBe('context.not-found')
      expect(await refused(Array.from({ length: 17 }, () => whole))).toBe('request.invalid')
      expect(await refused([])).toBe('request.invalid')
    })
  })
}
