import { describe, expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { parseDockerfile } from './dockerfile.ts'
import { interpret } from './interpret.ts'
import { firstState } from './stage-state.ts'
import type { CopyStep, RunStep, Step } from './step.ts'

/** What the last of these instructions asks for. */
function lastStep(text: string, given: Record<string, string> = {}): Step {
  const dockerfile = parseDockerfile(`FROM a\n${text}\n`, 'Dockerfile')
  let state = firstState({})
  let step: Step | undefined
  for (const instruction of dockerfile.stages[0]?.instructions ?? []) {
    step = interpret(instruction, state, { dockerfile, given, globals: new Map() })
    if (step.kind === 'config' || step.kind === 'folder') state = step.state
  }
  if (!step) throw new Error('no instruction')
  return step
}

function configOf(text: string, given?: Record<string, string>) {
  const step = lastStep(text, given)
  if (step.kind !== 'config') throw new Error(`${text} is a step`)
  return step.state.config
}

const run = (text: string) => lastStep(text) as RunStep
const copy = (text: string) => lastStep(text) as CopyStep

function faultOf(text: string): SlipwayError {
  try {
    lastStep(text)
  } catch (error) {
    if (error instanceof SlipwayError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('configuration', () => {
  test('HEALTHCHECK in all its forms', () => {
    expect(configOf('HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl "x"').Healthcheck).toEqual({
      Test: ['CMD-SHELL', 'curl "x"'],
      Interval: 90_000_000_000,
      Timeout: 500_000_000,
      Retries: 3,
    })
    const timed = 'HEALTHCHECK --start-period=1s --start-interval=0.5s CMD ["a", "b"]'
    expect(configOf(timed).Healthcheck).toEqual({
      Test: ['CMD', 'a', 'b'],
      StartPeriod: 1_000_000_000,
      StartInterval: 500_000_000,
    })
    expect(configOf('HEALTHCHECK NONE').Healthcheck).toEqual({ Test: ['NONE'] })
  })

  test.each([
    ['HEALTHCHECK --interval=1 CMD x', 'duration'],
    ['HEALTHCHECK --interval=1us CMD x', 'at least 1ms'],
    ['HEALTHCHECK --retries=-1 CMD x', 'whole number'],
    ['HEALTHCHECK CDM x', 'did you mean CMD'],
    ['HEALTHCHECK CMD', 'no command'],
    ['HEALTHCHECK NONE x', 'nothing else'],
  ])('%s is refused', (text, hint) => {
    expect(faultOf(text).message).toContain(hint)
  })

  test('ONBUILD keeps the text, with its here-documents', () => {
    expect(configOf('ONBUILD RUN a\nONBUILD COPY <<x /\nhi\nx').OnBuild).toEqual(['RUN a', 'COPY <<x /\nhi\nx'])
  })

  test('EXPOSE takes ranges, protocols and variables of several words', () => {
    const ports = configOf('ENV P="80 81/udp"\nEXPOSE $P 90-91/TCP').ExposedPorts
    expect(Object.keys(ports ?? {})).toEqual(['80/tcp', '81/udp', '90/tcp', '91/tcp'])
  })

  test('LABEL and ENV in the old form, with quotes and with variables in names', () => {
    expect(configOf('ENV A some words').Env).toEqual(['A=some words'])
    expect(configOf('ENV N=key\nLABEL "a.$N"="v \\"q\\"" b=c\\ d').Labels).toEqual({ 'a.key': 'v "q"', b: 'c d' })
  })
})

describe('RUN', () => {
  test('a here-document is the command; with other words the shell gets all of it', () => {
    expect(run('RUN <<EOF\necho $x\nEOF').args).toEqual(['/bin/sh', '-c', 'echo $x\n'])
    expect(run('RUN <<-EOF\n\techo\n\tEOF').args.at(-1)).toBe('echo\n')
    expect(run('RUN cat <<A <<B\n1\nA\n2\nB').args.at(-1)).toBe('cat <<A <<B\n1\nA\n2\nB')
  })

  test('a here-document with a first line of its own is a file', () => {
    const step = run('RUN <<EOF\n#!/bin/awk -f\nBEGIN {}\nEOF')
    expect(step.args.at(-1)).toBe('/dev/pipes/EOF')
    expect(step.script).toEqual({ name: 'EOF', text: '#!/bin/awk -f\nBEGIN {}\n' })
  })

  test('mounts of every type, with their usual values', () => {
    const mounts = (text: string) => run(`WORKDIR /w\nENV V=v\nRUN ${text} x`).mounts
    expect(mounts('--mount=target=m')).toEqual([
      { type: 'bind', target: '/w/m', source: '/', from: undefined, isWritable: false },
    ])
    expect(mounts('--mount=type=bind,from=s,src=/a,dst=/b,rw')).toEqual([
      { type: 'bind', target: '/b', source: '/a', from: 's', isWritable: true },
    ])
    expect(mounts('--mount=type=cache,target=/c/$V,sharing=locked,mode=0700,uid=5,ro')).toEqual([
      {
        ...{ type: 'cache', id: '/c/v', target: '/c/v', isWritable: false, sharing: 'locked' },
        ...{ from: undefined, source: '/', mode: 0o700, uid: 5, gid: 0 },
      },
    ])
    expect(mounts('--mount=type=tmpfs,target=/t,size=1.5k')).toEqual([{ type: 'tmpfs', target: '/t', sizeBytes: 1536 }])
    const owned = { uid: 0, gid: 0, isRequired: false }
    expect(mounts('--mount=type=secret,id=a --mount=type=secret,id=b,env=B --mount=type=ssh')).toEqual([
      { type: 'secret', id: 'a', target: '/run/secrets/a', env: undefined, mode: 0o400, ...owned },
      { type: 'secret', id: 'b', target: undefined, env: 'B', mode: 0o400, ...owned },
      { type: 'ssh', id: 'default', target: '/run/buildkit/ssh_agent.0', mode: 0o600, ...owned },
    ])
    expect(mounts('--mount=type=secret,target=/a/b,required')[0]).toMatchObject({ id: 'b', isRequired: true })
  })

  test.each([
    ['RUN --mount=type=bnd,target=/x x', 'bind, cache'],
    ['RUN --mount=type=cache x', 'needs a target'],
    ['RUN --mount=target=/ x', 'over the root'],
    ['RUN --mount=type=tmpfs,target=/a,sharing=x x', 'no option sharing'],
    ['RUN --mount=type=cache,target=/a,sharing=x x', 'shared, private, locked'],
    ['RUN --mount=type=secret x', 'needs its id'],
    ['RUN --mount=target=/a --mount=type=tmpfs,target=/a x', 'Two mounts'],
    ['RUN --network=x x', 'default, none, host'],
    ['RUN --security=x x', 'sandbox, insecure'],
  ])('%s is refused', (text, hint) => {
    expect(faultOf(text).message).toContain(hint)
  })
})

describe('COPY and ADD', () => {
  test('here-documents are files, their variables replaced unless quoted, with quotes kept', () => {
    expect(copy(`ENV V="x y"\nCOPY <<a <<"b" c /d/\nq="$V" '\${V}'\na\n$V\nb`)).toMatchObject({
      documents: [
        { name: 'a', text: `q="x y" 'x y'\n` },
        { name: 'b', text: '$V\n' },
      ],
      sources: ['c'],
      to: '/d/',
    })
  })

  test('flags with variables', () => {
    expect(copy('ARG F=s\nCOPY --from=$F --chown=a:b --chmod=u=rwX --link --parents --exclude=*.x a b')).toMatchObject({
      ...{ from: 's', chown: 'a:b', chmod: 'u=rwX', isLinked: true, keepsParents: true, excludes: ['*.x'] },
    })
  })

  test('addresses and repositories are told apart', () => {
    expect(copy('ADD https://h/x.tar https://h/r.git#v1:sub git@h:o/r.git ssh://h/r#main a /d/')).toMatchObject({
      sources: ['a'],
      urls: ['https://h/x.tar'],
      repositories: [
        { remote: 'https://h/r.git', ref: 'v1', folder: 'sub' },
        { remote: 'git@h:o/r.git', ref: undefined, folder: '' },
        { remote: 'ssh://h/r', ref: 'main', folder: '' },
      ],
    })
  })

  test('what ADD unpacks', () => {
    expect(copy('ADD a b').unpacks).toBe('local')
    expect(copy('ADD --unpack=false a b').unpacks).toBe('none')
    expect(copy('ADD --unpack https://h/a b').unpacks).toBe('all')
    expect(copy('COPY a b').unpacks).toBe('none')
  })

  test.each([
    ['COPY https://h/x y', 'write ADD'],
    ['COPY a <<EOF\nx\nEOF', 'as its destination'],
    ['ADD --checksum=sha256:1 https://h/x y', 'hexadecimal'],
    [`ADD --checksum=sha256:${'a'.repeat(64)} x y`, 'one source'],
    ['COPY --exclude=[ a b', 'pattern'],
  ])('%s is refused', (text, hint) => {
    expect(faultOf(text).message).toContain(hint)
  })
})
