// What an accessibility checker asks first, of the page that is open. Returns sentences; none is good.
() => {
  const faults = [];
  const name = (e) => `${e.tagName.toLowerCase()}${e.id ? '#' + e.id : ''} '${(e.textContent || '').trim().slice(0, 40)}'`;
  const visible = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== 'hidden';
  if (!document.documentElement.lang) faults.push('no language');
  if (!document.title) faults.push('no title');
  for (const landmark of ['main', 'header', 'nav', 'footer'])
    if (!document.querySelector(landmark)) faults.push(`no ${landmark}`);
  const headings = [...document.querySelectorAll('main h1, main h2, main h3, main h4')].filter(visible);
  if (headings.filter((h) => h.tagName === 'H1').length !== 1) faults.push('not exactly one h1');
  let level = 0;
  for (const h of headings) {
    const own = Number(h.tagName[1]);
    if (own > level + 1) faults.push(`heading ${name(h)} skips a level`);
    level = own;
  }
  for (const e of document.querySelectorAll('input:not([type=hidden]), select, textarea'))
    if (!e.labels.length || !e.labels[0].textContent.trim()) faults.push(`${name(e)} has no label`);
  for (const e of document.querySelectorAll('a[href], button, summary'))
    if (!(e.textContent.trim() || e.getAttribute('aria-label'))) faults.push(`${name(e)} has no text`);
  for (const e of document.querySelectorAll('img')) if (!e.alt) faults.push(`${name(e)} has no alternative text`);
  for (const e of document.querySelectorAll('svg'))
    if (e.getAttribute('aria-hidden') !== 'true' && !e.getAttribute('aria-label')) faults.push(`${name(e)} says nothing`);
  for (const e of document.querySelectorAll('th')) if (!e.scope) faults.push(`${name(e)} has no scope`);
  for (const e of document.querySelectorAll('table')) if (!e.caption) faults.push(`a table has no caption`);
  for (const attribute of ['aria-labelledby', 'aria-describedby'])
    for (const e of document.querySelectorAll(`[${attribute}]`))
      for (const id of e.getAttribute(attribute).trim().split(/\s+/))
        if (!document.getElementById(id) && e.tagName !== 'DIALOG') faults.push(`${name(e)} points to #${id}, which is not there`);
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of new Set(ids.filter((each, i) => ids.indexOf(each) !== i))) faults.push(`id ${id} twice`);
  const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (c) => (c.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !visible(e) || e.closest('noscript, .hidden, .skip')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faults.push(`${name(e)} has contrast ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return faults;
}
