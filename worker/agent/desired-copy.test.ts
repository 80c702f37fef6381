import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDesiredCopy } from './desired-copy.ts'

test('a copy from before builds had sources is read, with builds as they are now', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-copy-'))
  try {
    const path = join(folder, 'desired.json')
    const spec = { kind: 'dockerfile', tags: ['a:1'], dockerfile: 'Dockerfile', args: {}, noCache: false }
    const build = (id: string, more: object) => ({
      id: id.repeat(16),
      generation: 1,
      goal: 'built',
      spec: { ...spec, ...more },
    })
    const source = { kind: 'git', url: 'https://h/p', submodules: false }
    const contextId = 'c'.repeat(16)
    const state = {
      ...{ hostId: 'h'.repeat(16), generation: 3, isFull: true, containers: [] },
      network: { subnet: '10.86.0.0/24', gateway: '10.86.0.1', prefixLength: 16 },
      builds: [build('a', { contextId }), build('b', { source })],
    }
    await writeFile(path, JSON.stringify(state))
    const copy = await openDesiredCopy(path)
    expect(copy.state()?.builds.map(({ spec }) => spec)).toMatchObject([
      { ...spec, source: { kind: 'context', contextId } },
      { ...spec, source },
    ])
  } finally {
    await rm(folder, { recursive: true })
  }
})
