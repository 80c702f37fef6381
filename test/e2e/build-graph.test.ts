import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { uploadContext } from '#infra/local/api-client.ts'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildStep, BuildView } from '#shared/protocol/builds.ts'
import { type DockerfileBuilds, dockerfileBuilds } from '#test/support/dockerfile-builds.ts'
import { chooseSeed, seeded } from '#test/support/seeded.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'
import { readImage } from '../conformance/image-files.ts'

/** Stages and steps side by side: proved by steps that only end if others run meanwhile. */

let slipway: TestSlipway
let builds: DockerfileBuilds
const WAIT_MS = 60_000

beforeAll(async () => {
  slipway = await bootWithBusybox('graph')
  builds = dockerfileBuilds(slipway)
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

const stepsOf = async (id: string) =>
  (await slipway.api.call<{ steps: BuildStep[] }>('GET', `/v1/builds/${id}/steps`)).steps

const stateOf = (steps: BuildStep[], part: string) => steps.find(({ name }) => name.includes(part))?.state

async function built(dockerfile: string, tag: string, request?: Record<string, unknown>): Promise<BuildView> {
  return builds.ended(await builds.begin(dockerfile, tag, request))
}

async function succeeded(dockerfile: string, tag: string, request?: Record<string, unknown>) {
  const build = await built(dockerfile, tag, request)
  expect(build.state, await builds.log(build.id)).toBe('succeeded')
  const [repository = '', version = ''] = tag.split(':')
  return { build, image: await readImage(slipway.api.url, slipway.operatorToken, repository, version) }
}

/** Leaves a mark in a cache that steps share, and fails where the other's does not come. */
const meet = (cache: string, own: string, other: string) =>
  `RUN --mount=type=cache,id=${cache},target=/m touch /m/${own}; for i in $(seq 600); do [ -e /m/${other} ] && echo met > /${own} && exit 0; sleep 0.1; done; echo alone; exit 1`

test('a copy out of a stage is cached by its files: the stage was done anew, and they are the same', async () => {
  const dockerfile = (word: string, owner = 0) =>
    [
      ...[
        'FROM busybox AS made',
        `RUN echo ${word} > /other && mkdir /same && echo same > /same/file && chown ${owner} /same/file`,
      ],
      ...['FROM busybox', 'COPY --from=made /same /copy', ''],
    ].join('\n')
  const first = await succeeded(dockerfile('one'), 'graph/copied:1')
  const second = await succeeded(dockerfile('two'), 'graph/copied:2')
  expect(second.build.imageDigest).toBe(first.build.imageDigest)
  const steps = await stepsOf(second.build.id)
  expect([stateOf(steps, 'RUN echo two'), stateOf(steps, 'COPY --from=made')]).toEqual(['done', 'cached'])
  const owned = await succeeded(dockerfile('two', 7), 'graph/copied:3')
  expect(owned.image.files.get('copy/file')).toBe('f 644 7:0 same\n')
})

test('how long a step took is its own time, without the stage that it waits for', async () => {
  const dockerfile = [
    ...['FROM busybox AS slow', 'RUN sleep 4 && echo slow > /slow', 'FROM busybox'],
    ...['RUN --mount=from=slow,target=/s cp /s/slow /mounted', 'COPY --from=slow /slow /copied', ''],
  ].join('\n')
  const { build } = await succeeded(dockerfile, 'graph/own:1')
  const step = (await stepsOf(build.id)).find(({ name }) => name.includes('RUN --mount'))
  const wholeMs = Date.parse(step?.finishedAt ?? '') - Date.parse(step?.startedAt ?? '')
  expect(wholeMs - (step?.durationMs ?? 0)).toBeGreaterThan(1000) // It begins with the stage that sleeps.
})

describe('what does not depend on each other runs at once', () => {
  test('two stages that each wait for the other', async () => {
    const dockerfile = [
      ...['FROM busybox AS one', meet('stages', 'a', 'b'), 'FROM busybox AS two', meet('stages', 'b', 'a')],
      ...['FROM scratch', 'COPY --from=one /a /a', 'COPY --from=two /b /b', ''],
    ].join('\n')
    const { image } = await succeeded(dockerfile, 'graph/meet:1')
    expect([image.files.get('a'), image.files.get('b')]).toEqual(['f 644 0:0 met\n', 'f 644 0:0 met\n'])
  })

  test('a stage that a later step names by a variable, and one that a mount does, begin with the stage that needs them', async () => {
    const dockerfile = [
      ...['FROM busybox AS copied', meet('names', 'copied', 'mounted'), 'FROM busybox AS mounted'],
      ...[meet('names', 'mounted', 'own'), 'FROM busybox', 'ARG from=copied', meet('names', 'own', 'copied')],
      ...['COPY --from=$from /copied /c', 'RUN --mount=from=mounted,target=/x cp /x/mounted /d', ''],
    ].join('\n')
    const { image } = await succeeded(dockerfile, 'graph/named:1')
    expect([image.files.get('c'), image.files.get('d')]).toEqual(['f 644 0:0 met\n', 'f 644 0:0 met\n'])
  })

  test('their lines can be told apart in the log, which says when each began and how it ended', async () => {
    const dockerfile = [
      ...['FROM busybox AS one', 'RUN echo first line', meet('log', 'a', 'b')],
      ...['FROM busybox AS two', meet('log', 'b', 'a'), 'RUN echo second line'],
      ...['FROM scratch', 'COPY --from=one /a /one', 'COPY --from=two /b /two', ''],
    ].join('\n')
    const { build } = await succeeded(dockerfile, 'graph/log:1')
    const log = await builds.log(build.id)
    const numberOf = (part: string) => new RegExp(`^#(\\d+) \\[${part}`, 'm').exec(log)?.[1]
    expect(log).toMatch(new RegExp(`^#${numberOf('one 2/3')} \\d+\\.\\d{3} first line$`, 'm'))
    expect(log).toMatch(new RegExp(`^#${numberOf('two 3/3')} \\d+\\.\\d{3} second line$`, 'm'))
    expect(log).toMatch(new RegExp(`^#${numberOf('stage-2 2/3')} DONE \\d+\\.\\ds$`, 'm'))
    const steps = await stepsOf(build.id)
    expect(steps.map(({ number }) => number)).toEqual(steps.map((_, at) => at + 1))
    expect(new Set(steps.map(({ state }) => state))).toEqual(new Set(['done']))
    const events = await eventsOf(build.id)
    const ends = events.filter(({ mark }) => mark === 'done')
    expect(ends.map(({ step }) => step).sort((a, b) => (a ?? 0) - (b ?? 0))).toEqual(steps.map(({ number }) => number))
    expect(ends.every(({ durationMs }) => durationMs !== undefined)).toBe(true)
    const again = await succeeded(dockerfile, 'graph/log:2')
    expect(stateOf(await stepsOf(again.build.id), '[one 2/3]')).toBe('cached')
  })
})

interface LineEvent {
  step?: number
  mark?: string
  durationMs?: number
}

async function eventsOf(id: string): Promise<LineEvent[]> {
  let text = ''
  for await (const piece of slipway.api.text(`/v1/builds/${id}/logs`, { accept: 'text/event-stream' })) text += piece
  return [...text.matchAll(/event: line\ndata: (.*)\n/g)].map(([, data = '{}']) => JSON.parse(data))
}

test('base images of the target are pulled while a large context still comes', async () => {
  const folder = mkdtempSync('/var/tmp/slipway-large-')
  try {
    const dockerfile = 'FROM nowhere/unused AS unused\nFROM busybox AS base\nFROM busybox\nCOPY --from=base /bin /b\n'
    writeFileSync(join(folder, 'Dockerfile'), dockerfile)
    writeFileSync(join(folder, 'large'), randomBytes(96 * 1024 * 1024))
    const tar = join(folder, 'context.tar')
    execFileSync('tar', ['-cf', tar, '-C', folder, 'Dockerfile', 'large'])
    const body = { context: await uploadContext(slipway.api, tar), tags: ['graph/large:1'] }
    const { id } = await slipway.api.call<BuildView>('POST', '/v1/builds', body)
    expect((await builds.ended(id)).state, await builds.log(id)).toBe('succeeded')
    const log = await builds.log(id)
    expect(log.indexOf('pulling busybox')).toBeGreaterThan(0)
    expect(log.indexOf('pulling busybox')).toBeLessThan(log.indexOf('#1 DONE'))
    expect(log).not.toContain('nowhere')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

describe('an end ends all', () => {
  const SLEEPS = 'RUN sleep 3600'

  test('one that fails stops the others, and its error is told', async () => {
    const dockerfile = [
      ...['FROM busybox AS bad', `${meet('fail', 'a', 'b')}; exit 7`.replace('&& exit 0', '&& exit 7')],
      ...['FROM busybox AS slow', `${meet('fail', 'b', 'a')}`.replace('&& exit 0', '&& sleep 3600')],
      ...['FROM scratch', 'COPY --from=slow /b /b', 'COPY --from=bad /a /a', ''],
    ].join('\n')
    const build = await built(dockerfile, 'graph/fail:1')
    expect(build.error).toMatchObject({ code: 'build.step-failed', facts: { exitCode: 7, line: 2 } })
    const steps = await stepsOf(build.id)
    expect([stateOf(steps, '[bad 2/2]'), stateOf(steps, '[slow 2/2]')]).toEqual(['failed', 'canceled'])
    expect(steps.find(({ state }) => state === 'failed')?.error).toContain('exit code 7')
  })

  test('a source that is missing is told before the steps in front of it are done', async () => {
    const build = await built(`FROM busybox\n${SLEEPS}\nCOPY nowhere /x\n`, 'graph/missing:1')
    expect(build.error).toMatchObject({ code: 'build.source-not-found', facts: { line: 3 } })
  })

  test('a cancel stops all that runs', async () => {
    const dockerfile = `FROM busybox AS a\n${SLEEPS}\nFROM busybox AS b\nENV b=1\n${SLEEPS}\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n`
    const id = await builds.begin(dockerfile, 'graph/cancel:1')
    const sleeping = async () => (await stepsOf(id)).filter(({ name }) => name.includes(SLEEPS))
    expect(await waitUntil(async () => (await sleeping()).length === 2, WAIT_MS)).toBe(true)
    await slipway.api.call('POST', `/v1/builds/${id}/cancel?wait=finished`, {})
    expect((await builds.ended(id)).state).toBe('canceled')
    expect((await sleeping()).map(({ state }) => state)).toEqual(['canceled', 'canceled'])
  })

  test('stages that need each other by a variable are a fault, not a wait without an end', async () => {
    const dockerfile =
      'FROM busybox AS one\nCOPY --from=two /x /x\nFROM busybox AS two\nARG from=one\nCOPY --from=$from /x /x\nFROM two\n'
    const { error } = await built(dockerfile, 'graph/circle:1')
    expect(error).toMatchObject({ code: 'build.dockerfile-invalid', message: expect.stringContaining('in a circle') })
  })

  test('endless output is clipped with a mark, and the step goes on', async () => {
    const { build, image } = await succeeded('FROM busybox\nRUN yes | head -c 40000000; echo x > /x\n', 'graph/yes:1')
    expect(image.files.get('x')).toBe('f 644 0:0 x\n')
    const log = await builds.log(build.id)
    expect(log).toContain('[output clipped: ')
    expect(log.length).toBeLessThan(4_000_000)
  })
})

describe('a step is done once', () => {
  const COUNT = 'echo x >> /c/count'
  const countOf = (cache: string) =>
    globSync(join(slipway.layout.dataFolder, 'agent/builds/cache-mounts/*/*')).filter(path => path.endsWith(cache))

  test('by two builds at once: the second waits for the first', async () => {
    const step = `RUN --mount=type=cache,id=once,target=/c ${COUNT}; touch /c/of-two-builds; for i in $(seq 600); do [ -e /c/go ] && exit 0; sleep 0.1; done; exit 1`
    const dockerfile = `FROM busybox\n${step}\n`
    const first = await builds.begin(dockerfile, 'graph/first:1')
    expect(await waitUntil(async () => countOf('of-two-builds').length === 1, WAIT_MS)).toBe(true)
    const second = await builds.begin(dockerfile, 'graph/second:1')
    const isWaiting = async () => (await builds.log(second)).includes('the same step is under way')
    expect(await waitUntil(isWaiting, WAIT_MS)).toBe(true)
    const folder = dirname(countOf('of-two-builds')[0] ?? '')
    writeFileSync(join(folder, 'go'), '')
    const ended = await Promise.all([first, second].map(id => builds.ended(id)))
    expect(ended.map(({ state }) => state)).toEqual(['succeeded', 'succeeded'])
    expect(ended[0]?.imageDigest).toBe(ended[1]?.imageDigest)
    expect(readFileSync(join(folder, 'count'), 'utf8')).toBe('x\n')
    expect(stateOf(await stepsOf(second), '[2/2]')).toBe('cached')
  })

  test('by two stages of a build without the cache', async () => {
    const step = `RUN --mount=type=cache,id=stages-once,target=/c ${COUNT}; sleep 0.5; cp /c/count /n`
    const dockerfile = `FROM busybox AS a\n${step}\nFROM busybox AS b\n${step}\nFROM scratch\nCOPY --from=a /n /a\nCOPY --from=b /n /b\n`
    const { image } = await succeeded(dockerfile, 'graph/stages-once:1', { noCache: true })
    expect([image.files.get('a'), image.files.get('b')]).toEqual(['f 644 0:0 x\n', 'f 644 0:0 x\n'])
    const again = await succeeded(dockerfile, 'graph/stages-once:2', { noCache: true })
    expect(again.image.files.get('a')).toBe('f 644 0:0 x\nx\n')
  })

  test('where the first is canceled, the second does it', async () => {
    const slow =
      'RUN --mount=type=cache,id=taken-over,target=/c [ -e /c/begun ] && exit 0; touch /c/begun /c/taken-over; sleep 3600'
    const first = await builds.begin(`FROM busybox\n${slow}\n`, 'graph/left:1')
    expect(await waitUntil(async () => countOf('taken-over').length === 1, WAIT_MS)).toBe(true)
    const second = await builds.begin(`FROM busybox\n${slow}\n`, 'graph/taken:1')
    const isWaiting = async () => (await builds.log(second)).includes('the same step is under way')
    expect(await waitUntil(isWaiting, WAIT_MS)).toBe(true)
    await slipway.api.call('POST', `/v1/builds/${first}/cancel`, {})
    expect((await builds.ended(second)).state).toBe('succeeded')
    expect((await builds.ended(first)).state).toBe('canceled')
    expect(stateOf(await stepsOf(second), '[2/2]')).toBe('done')
  })
})

test('locked caches that two steps take in other orders, or one step twice, hold nobody up', async () => {
  const mount = (id: string, target: string) => `--mount=type=cache,sharing=locked,id=${id},target=${target}`
  const dockerfile = [
    ...['FROM busybox AS a', `RUN ${mount('x', '/x')} ${mount('y', '/y')} sleep 0.5; echo 1 > /1`],
    ...['FROM busybox AS b', `RUN ${mount('y', '/y')} ${mount('x', '/x')} sleep 0.5; echo 2 > /2`],
    ...['FROM busybox', `RUN ${mount('x', '/x')} ${mount('x', '/z')} touch /x/one; ls /z > /3`],
    ...['COPY --from=a /1 /1', 'COPY --from=b /2 /2', ''],
  ].join('\n')
  const { image } = await succeeded(dockerfile, 'graph/locked:1')
  expect(['1', '2', '3'].map(name => image.files.get(name))).toEqual(
    ['1\n', '2\n', 'one\n'].map(text => `f 644 0:0 ${text}`),
  )
})

test('the same inputs give the same image and the same advice, whatever the timing', async () => {
  const seed = chooseSeed()
  const random = seeded(seed)
  /** Secrets are in no key, layer or history: they can say how long to sleep. */
  const slowly = (secret: string, command: string) =>
    `RUN --mount=type=secret,id=${secret} sleep $(cat /run/secrets/${secret}); ${command}`
  const dockerfile = [
    ...[
      'FROM busybox AS a',
      slowly('a', 'echo a > /a'),
      'ENV unset=$nothing',
      'FROM busybox AS b',
      slowly('b', 'echo b > /b'),
    ],
    ...['ENV unset=$nobody', 'FROM a AS c', slowly('c', 'echo c > /c'), 'FROM busybox', slowly('d', 'echo d > /d')],
    ...['COPY --from=b /b /', 'COPY --from=c /a /c /', 'ENV done=1', ''],
  ].join('\n')
  const seen = []
  for (const round of [1, 2, 3]) {
    const secrets = Object.fromEntries(['a', 'b', 'c', 'd'].map(name => [name, (random() * 0.7).toFixed(2)]))
    const request = { noCache: true, secrets, args: { SOURCE_DATE_EPOCH: '1000000000' } }
    const { build, image } = await succeeded(dockerfile, `graph/timing:${round}`, request)
    seen.push({ digest: build.imageDigest, history: image.config.history, warnings: build.warnings })
  }
  expect(
    seen[0]?.warnings?.map(({ line }) => line),
    `seed ${seed}`,
  ).toEqual([3, 6])
  expect(seen[1], `seed ${seed}`).toEqual(seen[0])
  expect(seen[2], `seed ${seed}`).toEqual(seen[0])
})

test('with one step at a time a build of many stages ends all the same', async () => {
  process.env.SLIPWAY_BUILD_STEPS = '1'
  const one = await bootWithBusybox('graphone').finally(() => delete process.env.SLIPWAY_BUILD_STEPS)
  try {
    const mount = '--mount=type=cache,sharing=locked,id=l,target=/l'
    const stages = [1, 2, 3, 4].flatMap(at => [
      ...[`FROM busybox AS s${at}`, `RUN ${mount} echo ${at} > /${at}`],
      ...(at > 1 ? [`RUN --mount=from=s${at - 1},target=/m cp /m/* / 2>/dev/null; test -e /${at - 1}`] : []),
    ])
    const dockerfile = [
      ...stages,
      'FROM scratch',
      ...[4, 3, 2, 1].map(at => `COPY --from=s${at} /${at} /${at}`),
      '',
    ].join('\n')
    const own = dockerfileBuilds(one)
    const { id, state } = await own.ended(await own.begin(dockerfile, 'graph/one:1'))
    expect(state, await own.log(id)).toBe('succeeded')
  } finally {
    expect(await one.remove()).toEqual([])
  }
})
