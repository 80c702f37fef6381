import { describe, expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { parseDockerfile } from './dockerfile.ts'
import { interpret, type Scope } from './interpret.ts'
import { firstState, type StageState } from './stage-state.ts'
import { globalArgs, platformArgs, resolveStages, targetStage } from './stages.ts'

const parse = (text: string) => parseDockerfile(text, 'Dockerfile')

function faultOf(work: () => unknown): SlipwayError {
  try {
    work()
  } catch (error) {
    if (error instanceof SlipwayError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

/** The state after all instructions of the last stage. */
function stateAfter(text: string, given: Scope['given'] = {}): StageState {
  const dockerfile = parse(text)
  const globals = globalArgs(dockerfile, given, platformArgs('amd64'))
  const stage = targetStage(resolveStages(dockerfile, globals), undefined)
  return stage.instructions.reduce((state, instruction) => {
    const step = interpret(instruction, state, { dockerfile, given, globals })
    return step.kind === 'config' || step.kind === 'folder' ? step.state : state
  }, firstState({}))
}

describe('parsing', () => {
  test('continuation lines are joined, comments and empty lines in between left out', () => {
    const [stage] = parse('FROM a\nRUN one && \\\n  # why\n\n  two "x \\" y"\n').stages
    expect(stage?.instructions[0]).toMatchObject({ keyword: 'RUN', line: 2, text: 'one &&   two "x \\" y"' })
  })

  test('flags, the exec form and stage names are read', () => {
    const [stage] = parse('FROM --platform=linux/amd64 a:1 AS Build\nCOPY --chown=1:2 --link ["a b", "/c"]\n').stages
    expect(stage).toMatchObject({ name: 'build', base: 'a:1', from: { flags: [{ name: 'platform' }] } })
    expect(stage?.instructions[0]).toMatchObject({
      json: ['a b', '/c'],
      flags: [
        { name: 'chown', value: '1:2' },
        { name: 'link', value: 'true' },
      ],
    })
  })

  test('the escape directive changes the escape character', () => {
    const [stage] = parse('# escape=`\nFROM a\nRUN one `\n two\\\n').stages
    expect(stage?.instructions[0]?.text).toBe('one  two\\')
  })

  test.each([
    ['FROM a\n\nCOPPY a b\n', 3, 1],
    ['RUN true\n', 1, 1],
    ['FROM a\nCOPY a\n', 2, 6],
    ['', 1, 1],
  ])('%j is refused with its place', (text, line, column) => {
    const fault = faultOf(() => globalArgs(parse(text), {}, new Map()))
    expect(fault.code).toBe('build.dockerfile-invalid')
    expect(fault.facts).toEqual({ file: 'Dockerfile', line, column })
  })

  test.each(['FROM a\nHEALTHCHECK CMD true\n', 'FROM a\nRUN <<EOF\ntrue\nEOF\n', 'FROM a\nONBUILD RUN true\n'])(
    '%j is named as not supported',
    text => {
      expect(faultOf(() => parse(text))).toMatchObject({ code: 'build.instruction-unsupported', facts: { line: 2 } })
    },
  )
})

describe('interpreting', () => {
  test('ENV wins over ARG, given values over defaults, and a stage knows only what it asked for', () => {
    const text =
      'ARG V=1\nFROM a\nARG V\nARG W=${V}2\nARG TARGETARCH\nENV X=$V-$W-$TARGETARCH-$Z V=env Y="$V"\nENV Z=$V\n'
    expect(stateAfter(text, { W: 'given' }).config.Env).toEqual(['X=1-given-amd64-', 'V=env', 'Y=1', 'Z=env'])
  })

  test('ENTRYPOINT takes an inherited command away, and keeps one of the same stage', () => {
    const inherited = { ...firstState({ Cmd: ['old'] }) }
    const dockerfile = parse('FROM a\nENTRYPOINT ["x"]\n')
    const [entrypoint] = dockerfile.stages[0]?.instructions ?? []
    if (!entrypoint) throw new Error('no instruction')
    const scope = { dockerfile, given: {}, globals: new Map() }
    expect(interpret(entrypoint, inherited, scope)).toMatchObject({ state: { config: { Entrypoint: ['x'] } } })
    expect(JSON.stringify(interpret(entrypoint, inherited, scope))).not.toContain('old')
    expect(stateAfter('FROM a\nCMD ["c"]\nENTRYPOINT ["e"]\n').config).toMatchObject({ Cmd: ['c'], Entrypoint: ['e'] })
  })

  test('WORKDIR is relative to the one before; SHELL is used by the shell form', () => {
    const { config } = stateAfter('FROM a\nWORKDIR /a\nWORKDIR b/../c\nSHELL ["/bin/bash", "-c"]\nCMD echo $HOME\n')
    expect(config).toMatchObject({ WorkingDir: '/a/c', Cmd: ['/bin/bash', '-c', 'echo $HOME'] })
  })

  test.each(['EXPOSE 0', 'EXPOSE 70000', 'EXPOSE x', 'SHELL /bin/sh', 'COPY --chmod=rwx a b', 'ENV =x'])(
    '%s is refused with its line',
    line => {
      expect(faultOf(() => stateAfter(`FROM a\n${line}\n`)).facts).toMatchObject({ line: 2 })
    },
  )
})

describe('stages', () => {
  const stages = () => resolveStages(parse('FROM a AS one\nFROM one AS two\nFROM scratch\n'), new Map())

  test('a base is an earlier stage before it is an image', () => {
    expect(stages().map(({ base }) => base.kind)).toEqual(['image', 'stage', 'scratch'])
  })

  test('a target is found by name, in any case, and by number', () => {
    expect(targetStage(stages(), 'TWO').index).toBe(1)
    expect(targetStage(stages(), '0').index).toBe(0)
    expect(targetStage(stages(), undefined).index).toBe(2)
    expect(faultOf(() => targetStage(stages(), 'three')).message).toContain('one, two, 2')
  })
})
