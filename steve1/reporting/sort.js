document.querySelectorAll('table.sort').forEach(function (table) {
  table.querySelectorAll('th').forEach(function (head, column) {
    head.addEventListener('click', function () {
      var down = head.dataset.down = head.dataset.down === '1' ? '0' : '1';
      var rows = Array.prototype.slice.call(table.tBodies[0].rows);
      function key(row) { var cell = row.cells[column]; var v = cell.dataset.v; return v === undefined ? cell.textContent : parseFloat(v); }
      rows.sort(function (a, b) {
        var x = key(a), y = key(b), s = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
        return down === '1' ? -s : s;
      });
      rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
    });
  });
});
