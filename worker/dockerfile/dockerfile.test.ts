import { describe, expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { parseDockerfile } from './dockerfile.ts'
import { interpret } from './interpret.ts'
import type { Scope } from './scope.ts'
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
  const stage = targetStage(resolveStages(dockerfile, globals), undefined, 'Dockerfile')
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
        { name: 'link', value: undefined },
      ],
    })
  })

  test('the escape directive changes the escape character', () => {
    const [stage] = parse('# escape=`\nFROM a\nRUN one `\n two\\\n').stages
    expect(stage?.instructions[0]?.text).toBe('one  two\\')
  })

  test('more instructions than a person writes are refused', () => {
    const fault = faultOf(() => parse(`FROM a\n${'RUN x\n'.repeat(10_000)}`))
    expect(fault).toMatchObject({ code: 'build.dockerfile-invalid', facts: { line: 10_001 } })
  })

  test('a directive is one only before everything else', () => {
    expect(parse('# syntax=docker/dockerfile:1\n#Escape = `\nFROM a\n').escapeChar).toBe('`')
    expect(parse('# a comment\n# escape=`\nFROM a\n').escapeChar).toBe('\\')
    expect(parse('\n# escape=`\nFROM a\n').escapeChar).toBe('\\')
  })

  test('what would take a validator minutes is refused at once', () => {
    const startedAt = performance.now()
    expect(faultOf(() => parse(`FROM a\nRUN ${'--a=b '.repeat(100_000)}x\n`)).message).toContain('100 flags')
    expect(parse(`FROM a\nRUN ${'\\'.repeat(200_000)}x\n`).stages).toHaveLength(1)
    expect(performance.now() - startedAt).toBeLessThan(2000)
  })

  test('an escape character that is escaped itself continues no line', () => {
    const [stage] = parse('FROM a\nRUN echo a\\\\\nRUN b \\\n c\n').stages
    expect(stage?.instructions).toMatchObject([
      { text: 'echo a\\\\', line: 2 },
      { text: 'b  c', line: 3 },
    ])
  })

  test.each(['RUN awk "{ x <<y }"', 'RUN echo $((1<<X))', 'RUN cat <<<hi', 'RUN echo "<<EOF"'])(
    '%s is no here-document',
    line => {
      expect(parse(`FROM a\n${line}\n`).stages[0]?.instructions).toHaveLength(1)
    },
  )

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

  test.each([
    ['FROM a\nCOPPY a b\n', 2, 1, 'did you mean COPY'],
    ['FROM a\nCOPY --form=x a b\n', 2, 6, 'did you mean --from'],
    ['FROM a\nRUN \\\n  --mout=type=tmpfs x\n', 3, 3, 'did you mean --mount'],
    ['FROM a\nCOPY --link=maybe a b\n', 2, 6, 'true or false'],
    ['FROM a\nCOPY --from=x --from=y a b\n', 2, 6, 'twice'],
    ['FROM a\nENV --x a=b\n', 2, 5, 'has no flags'],
    ['FROM a as 1x\n', 1, 11, 'no name for a stage'],
    ['FROM a b\n', 1, 8, 'FROM image AS name'],
    ['FROM a\nCMD [1]\n', 2, 1, 'strings alone'],
    ['FROM a\nRUN\n', 2, 1, 'nothing behind it'],
    ['FROM a\nRUN <<EOF\nx\n', 2, 1, 'EOF alone has to follow'],
    ['FROM a\nONBUILD FROM b\n', 2, 9, 'cannot be in ONBUILD'],
    ['# escape=x\nFROM a\n', 1, 3, 'escape character'],
    ['# syntax=a\n# syntax=b\nFROM a\n', 2, 3, 'twice'],
    ['# only a comment\n', 1, 1, 'no instructions'],
  ])('%j is refused at its place, with a hint', (text, line, column, hint) => {
    const fault = faultOf(() => parse(text))
    expect(fault.facts).toEqual({ file: 'Dockerfile', line, column })
    expect(fault.message).toContain(hint)
  })
})

describe('here-documents', () => {
  const only = (text: string) => parse(`FROM a\n${text}`).stages[0]?.instructions ?? []

  test('several follow each other, and lines that look like instructions or comments are text', () => {
    const [copy, run] = only('COPY <<a.txt <<-"b" /x/\n# one\nFROM $y\na.txt\n\ttwo \\\n\tb\nRUN x\n')
    expect(copy?.heredocs).toEqual([
      { name: 'a.txt', isExpanded: true, stripsTabs: false, text: '# one\nFROM $y\n' },
      { name: 'b', isExpanded: false, stripsTabs: true, text: '\ttwo \\\n' },
    ])
    expect(run).toMatchObject({ keyword: 'RUN', line: 8 })
  })

  test('one may be empty, and ends in carriage returns as its lines do', () => {
    expect(only('RUN <<EOF\nEOF\n')[0]?.heredocs[0]?.text).toBe('')
    expect(only('RUN <<EOF\r\necho\r\nEOF\r\n')[0]?.heredocs[0]?.text).toBe('echo\r\n')
  })

  test('the exec form has none, and ONBUILD has those of its instruction', () => {
    expect(only('RUN ["cat", "<<EOF"]\n')[0]?.heredocs).toEqual([])
    expect(only('ONBUILD RUN <<EOF\nx\nEOF\n')[0]?.heredocs).toHaveLength(1)
    expect(only('CMD <<EOF\n')[0]?.heredocs).toEqual([])
  })
})

describe('directives', () => {
  test('check tells which warnings are left out and whether they fail', () => {
    expect(parse('#check=skip=A, B;error=true\nFROM a\n').check).toEqual({
      skip: ['A', 'B'],
      experimental: [],
      isError: true,
    })
    expect(parse('# syntax=docker/dockerfile:1\nFROM a\n')).toMatchObject({
      syntax: 'docker/dockerfile:1',
      check: { skip: [], experimental: [], isError: false },
    })
  })
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

  test.each(['COPY a b .', 'COPY a b ..', 'ADD a b .', 'COPY "a b" /d', 'ARG D=/x/\nCOPY a b $D'])(
    '%s is taken, as Docker takes it',
    line => {
      expect(() => stateAfter(`FROM a\n${line}\n`)).not.toThrow()
    },
  )

  test.each(['COPY a b c', 'ARG D=/x\nCOPY a b $D'])('%s is refused: it names a file for two sources', line => {
    expect(faultOf(() => stateAfter(`FROM a\n${line}\n`)).message).toContain('Several sources')
  })

  test('variables that double with each line end in a fault with its line', () => {
    const fault = faultOf(() => stateAfter(`FROM a\nENV A=0123456789\n${'ENV A=$A$A\n'.repeat(23)}`))
    expect(fault).toMatchObject({ code: 'build.dockerfile-invalid', facts: { line: 16 } })
  })

  test('all variables together are bounded, in one line and over many', () => {
    const long = `FROM a\nENV A=${'x'.repeat(100_000)}\n`
    expect(faultOf(() => stateAfter(`${long}ENV ${'B$A=1 '.repeat(20)}\n`)).facts).toMatchObject({ line: 3 })
    const many = Array.from({ length: 20 }, (_, at) => `LABEL l${at}=$A\n`).join('')
    expect(faultOf(() => stateAfter(long + many)).facts).toMatchObject({ line: 12 })
    const globals = Array.from({ length: 20 }, (_, at) => `ARG A${at + 1}=$A${at}\n`).join('')
    const text = `ARG A0=${'x'.repeat(100_000)}\n${globals}FROM a\n`
    expect(faultOf(() => stateAfter(text)).facts).toMatchObject({ line: 11 })
  })

  test('an ARG named like what every object has is a name like any other', () => {
    expect(stateAfter('FROM a\nARG toString\nENV X=$toString\n').config.Env).toEqual(['X='])
  })

  test('WORKDIR makes folders as the user of the moment', () => {
    const dockerfile = parse('FROM a\nWORKDIR /x\n')
    const [workdir] = dockerfile.stages[0]?.instructions ?? []
    if (!workdir) throw new Error('no instruction')
    const scope = { dockerfile, given: {}, globals: new Map() }
    expect(interpret(workdir, firstState({ User: 'app' }), scope)).toMatchObject({ kind: 'folder', user: 'app' })
  })

  test.each([
    'EXPOSE 0',
    'EXPOSE 70000',
    'EXPOSE x',
    'SHELL /bin/sh',
    'COPY --chmod=rwx a b',
    'ENV =x',
    'STOPSIGNAL x',
    'VOLUME ""',
  ])('%s is refused with its line', line => {
    expect(faultOf(() => stateAfter(`FROM a\n${line}\n`)).facts).toMatchObject({ line: 2 })
  })
})

describe('circles', () => {
  test.each([
    ['FROM a AS x\nCOPY --from=y /a /b\nFROM a AS y\nCOPY --from=x /a /b\n', 'x → y → x'],
    ['FROM a AS x\nRUN --mount=from=y,target=/m true\nFROM x AS y\n', 'x → y → x'],
  ])('%j is refused with the way around', (text, way) => {
    expect(faultOf(() => resolveStages(parse(text), new Map())).message).toContain(way)
  })

  test('a stage may copy from a later one, and not from itself or from none', () => {
    expect(resolveStages(parse('FROM a\nCOPY --from=1 a b\nFROM b\n'), new Map())).toHaveLength(2)
    const itself = faultOf(() => resolveStages(parse('FROM a AS x\nCOPY --from=x a b\n'), new Map()))
    expect(itself).toMatchObject({ facts: { line: 2, column: 13 } })
    expect(faultOf(() => resolveStages(parse('FROM a\nCOPY --from=7 a b\n'), new Map())).message).toContain(
      'no stage 7',
    )
  })
})

describe('stages', () => {
  const stages = () => resolveStages(parse('FROM a AS one\nFROM one AS two\nFROM scratch\n'), new Map())

  test('a base is an earlier stage before it is an image', () => {
    expect(stages().map(({ base }) => base.kind)).toEqual(['image', 'stage', 'scratch'])
  })

  test('of two stages with one name the later counts, as a base and as a target', () => {
    const twice = resolveStages(parse('FROM a AS x\nFROM b AS x\nFROM x\n'), new Map())
    expect(twice[2]?.base).toEqual({ kind: 'stage', index: 1 })
    expect(targetStage(twice, 'x', 'Dockerfile').index).toBe(1)
  })

  test('a target is found by name, in any case, and by number', () => {
    expect(targetStage(stages(), 'TWO', 'Dockerfile').index).toBe(1)
    expect(targetStage(stages(), '0', 'Dockerfile').index).toBe(0)
    expect(targetStage(stages(), undefined, 'Dockerfile').index).toBe(2)
    const missing = faultOf(() => targetStage(stages(), 'twoo', 'Dockerfile'))
    const says = 'has no stage twoo, which "target" names: it has one, two, 2. Did you mean two?'
    expect(missing.message).toBe(`Dockerfile:2:1: The Dockerfile ${says}`)
    expect(missing.facts).toEqual({ file: 'Dockerfile', line: 2, column: 1, target: 'twoo' })
    expect(faultOf(() => targetStage([], undefined, 'Dockerfile')).message).toMatch(/^Dockerfile:1:1: /)
  })
})
